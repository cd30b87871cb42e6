package conformance

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestRecordingThroughConsole sends a recording over a console on which others
// speak too.
func TestRecordingThroughConsole(t *testing.T) {
	r := Generate(Config{Scheduler: "sh", Seed: 1, Steps: 500})
	rec := Recording{Release: "6.1", Traces: []Trace{{Seen: recordEngine(t, &r, 1, nil)}, {Missing: "scheduler twos"}}}
	var out bytes.Buffer
	if err := rec.Write(&out); err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(out.String(), "\n")
	noisy := "booting\r\n" + lines[0] + "a message of the kernel\n" + strings.ReplaceAll(strings.Join(lines[1:], ""), "\n", "\r\n") + "bye\n"
	var log bytes.Buffer
	got, err := ReadRecording(strings.NewReader(noisy), &log)
	if err != nil {
		t.Fatal(err)
	}
	if got.Release != rec.Release || len(got.Traces) != 2 || !reflect.DeepEqual(got.Traces[1], rec.Traces[1]) {
		t.Errorf("got kernel %q, %d traces", got.Release, len(got.Traces))
	}
	if d := compareWithEngine(t, &r, got.Traces[0].Seen); d != nil {
		t.Errorf("the recording changed on its way: %+v", d)
	}
	if want := "booting\na message of the kernel\nbye\n"; log.String() != want {
		t.Errorf("log %q, want %q", log.String(), want)
	}
	for name, text := range map[string]string{
		"nothing":     "",
		"half":        strings.Join(lines[:len(lines)/2], ""),
		"a line less": strings.Join(lines[1:], ""),
		"no text":     linePrefix + "%%%\n" + linePrefix + ".\n",
	} {
		if _, err := ReadRecording(strings.NewReader(text), io.Discard); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestGuest has a shell stand for the command that boots a guest, and a shell
// for the program in it.
func TestGuest(t *testing.T) {
	dir := t.TempDir()
	rec := Recording{Release: "a'b", Traces: []Trace{{Missing: "scheduler rr"}}}
	var out bytes.Buffer
	if err := rec.Write(&out); err != nil {
		t.Fatal(err)
	}
	saved := filepath.Join(dir, "it's saved")
	if err := os.WriteFile(saved, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	runs := []Run{Generate(Config{Scheduler: "rr", Seed: 1, Steps: 10})}
	// The program sees the runs in the file that is its last argument.
	verb := []string{"-c", `grep -q add-service "$1" && cat "$0"`, saved}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	got, err := Guest(ctx, "sh -e", "sh", verb, runs, io.Discard)
	if err != nil || !reflect.DeepEqual(got, rec) {
		t.Errorf("got %+v, %v, want %+v", got, err, rec)
	}
	if _, err := Guest(ctx, "false", "sh", verb, runs, io.Discard); err == nil {
		t.Error("a guest that fails is no error")
	}
	if _, err := Guest(ctx, "sh", "true", nil, runs, io.Discard); err == nil {
		t.Error("a guest that says nothing is no error")
	}
}
