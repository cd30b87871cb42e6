package nat

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Value is what a setting is set to: a number, or two ([Pair]).
type Value int64

// pairBit tells two numbers from one: they take 31 bits each.
const pairBit = 62

// Pair returns the value of a setting of two numbers, such as sync_threshold. Each
// is from 0 to 2147483647.
func Pair(first, second int) Value {
	return 1<<pairBit | Value(first&anyInt)<<31 | Value(second&anyInt)
}

// Split returns the two numbers of a pair; ok is false if it is none.
func (v Value) Split() (first, second int, ok bool) {
	return int(v >> 31 & anyInt), int(v & anyInt), v > 0 && v>>pairBit == 1
}

// String returns the value as the kernel shows it: "3 50" for a pair.
func (v Value) String() string {
	if first, second, ok := v.Split(); ok {
		return fmt.Sprintf("%d %d", first, second)
	}
	return strconv.FormatInt(int64(v), 10)
}

// ParseValue reads what [Value.String] writes, also with a comma.
func ParseValue(s string) (Value, error) {
	words := strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == '\t' || r == ',' })
	var n [2]int64
	if len(words) < 1 || len(words) > len(n) {
		return 0, errors.New("a number, or two with a blank between them, is wanted")
	}
	for i, w := range words {
		var err error
		if n[i], err = strconv.ParseInt(w, 10, 32); err != nil {
			return 0, fmt.Errorf("%q is no number from -2147483648 to 2147483647", w)
		}
	}
	if len(words) == 1 {
		return Value(n[0]), nil
	}
	if n[0] < 0 || n[1] < 0 {
		return 0, errors.New("two numbers are each at least 0")
	}
	return Pair(int(n[0]), int(n[1])), nil
}

// MarshalJSON writes a number, or a pair as the string "3 50".
func (v Value) MarshalJSON() ([]byte, error) {
	if _, _, ok := v.Split(); ok {
		return strconv.AppendQuote(nil, v.String()), nil
	}
	return strconv.AppendInt(nil, int64(v), 10), nil
}

// UnmarshalJSON reads what MarshalJSON writes.
func (v *Value) UnmarshalJSON(b []byte) error {
	s := string(b)
	if strings.HasPrefix(s, `"`) {
		var err error
		if s, err = strconv.Unquote(s); err != nil {
			return err
		}
	}
	n, err := ParseValue(s)
	if err != nil {
		return fmt.Errorf("nat: setting: %w", err)
	}
	*v = n
	return nil
}
