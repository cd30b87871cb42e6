package nat

import (
	"encoding/json"
	"testing"
)

func TestValue(t *testing.T) {
	for s, want := range map[string]Value{
		"0": 0, "7": 7, " 3 ": 3, "-1": -1, "3 50": Pair(3, 50), "3,50": Pair(3, 50), "0 0": Pair(0, 0), "2147483647 2147483647": Pair(anyInt, anyInt),
	} {
		if got, err := ParseValue(s); err != nil || got != want {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "x", "1 2 3", "3 x", "-3 5", "3 -5", "2147483648", "1.5"} {
		if v, err := ParseValue(s); err == nil {
			t.Errorf("%q is %v", s, v)
		}
	}
}

func FuzzValue(f *testing.F) {
	f.Add(int64(5), `"3 50"`)
	f.Add(int64(Pair(1, 2)), "7")
	f.Fuzz(func(t *testing.T, n int64, text string) {
		v := Value(n)
		if a, b, ok := v.Split(); ok && Pair(a, b) != v {
			t.Fatalf("%d is %d and %d, which are %d", n, a, b, Pair(a, b))
		}
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			return
		}
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var again Value
		if err := json.Unmarshal(b, &again); err != nil || again != v {
			t.Fatalf("%s: %v, was %v (%v)", b, again, v, err)
		}
	})
}
