package lab

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestPageIsThePapers(t *testing.T) {
	p, err := NewPage("10.0.100.11", 0)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != 200 || w.Body.Len() != 4100 || w.Header().Get("Content-Length") != "4100" {
		t.Errorf("status %d, %d bytes, Content-Length %q; want 200, 4100, 4100", w.Code, w.Body.Len(), w.Header().Get("Content-Length"))
	}
	if got := w.Header().Get("X-Real-Server"); got != "10.0.100.11" {
		t.Errorf("X-Real-Server: %q", got)
	}
	body := w.Body.String()
	if !strings.HasPrefix(body, "<!DOCTYPE html>\n") || !strings.HasSuffix(body, "</pre>\n</body>\n</html>\n") {
		t.Errorf("the page is not whole:\n%s", body)
	}
}

func TestPageCountsPagesOnly(t *testing.T) {
	p, err := NewPage("10.0.100.12", 712)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		p.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w
	}
	for range 3 {
		ask("/")
	}
	if w := ask("/nothing"); w.Code != http.StatusNotFound {
		t.Errorf("/nothing: status %d", w.Code)
	}
	ask("/stats")
	var got PageStats
	if err := json.Unmarshal(ask("/stats").Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if want := (PageStats{Server: "10.0.100.12", Rate: 712, Served: 3}); got != want {
		t.Errorf("figures %+v, want %+v", got, want)
	}
}

func TestPageWaitsForItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := NewPage("s", 10)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan int)
		for range 5 {
			go func() {
				w := httptest.NewRecorder()
				p.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
				done <- w.Code
			}()
		}
		start := time.Now()
		if <-done != 200 {
			t.Error("the first request was refused")
		}
		synctest.Wait()
		if got := p.Stats(); got.Waiting != 4 || got.Served != 1 {
			t.Errorf("after the first: %+v, want 4 waiting, 1 served", got)
		}
		for range 4 {
			if code := <-done; code != 200 {
				t.Errorf("a request beyond the rate got %d", code)
			}
		}
		if got := time.Since(start); got != 400*time.Millisecond {
			t.Errorf("five requests at 10/s took %v, want 400ms", got)
		}
	})
}
