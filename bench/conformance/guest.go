package conformance

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A guest is asked by a script that runs this same program in it, with the runs
// in a file. What it recorded comes back on its standard output, which may be a
// console: as text, in lines that are told from others by their beginning.

// linePrefix begins the lines of a recording on a guest's console.
const linePrefix = "vsnat-conformance:"

// lineLen is how many characters of text one line has.
const lineLen = 4000

// RecordKernel has the kernel of this machine do the runs.
func RecordKernel(ctx context.Context, runs []Run, done func(Config)) (rec Recording, err error) {
	rec.Release = kernelRelease()
	rec.Traces, err = Record(ctx, runs, NewKernel, done)
	return rec, err
}

// Guest has another kernel do the runs. command is a shell command that, given
// the path of a script as its last argument, boots a guest with IPVS and runs
// that script in it as root, seeing this machine's files. program is the path
// of vsnat, and verb the arguments that have it read runs from a file, record
// them and write that with [Recording.Write]. What else the guest says goes to
// log.
func Guest(ctx context.Context, command, program string, verb []string, runs []Run, log io.Writer) (rec Recording, err error) {
	dir, err := os.MkdirTemp("", "vsnat-conformance-")
	if err != nil {
		return rec, fmt.Errorf("conformance: %w", err)
	}
	defer os.RemoveAll(dir)
	file, script := filepath.Join(dir, "runs.json"), filepath.Join(dir, "script")
	data, err := json.Marshal(runs)
	if err == nil {
		err = os.WriteFile(file, data, 0o644)
	}
	if err == nil {
		var text strings.Builder
		text.WriteString("#!/bin/sh\nexec")
		for _, word := range append(append([]string{program}, verb...), file) {
			text.WriteString(" '" + strings.ReplaceAll(word, "'", `'\''`) + "'")
		}
		err = os.WriteFile(script, []byte(text.String()+"\n"), 0o755)
	}
	if err == nil {
		err = os.Chmod(dir, 0o755) // another user may be root in the guest
	}
	if err != nil {
		return rec, fmt.Errorf("conformance: %w", err)
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", command+` "$1"`, "sh", script)
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return rec, fmt.Errorf("conformance: start the guest: %w", err)
	}
	rec, read := ReadRecording(out, log)
	if err := cmd.Wait(); err != nil {
		return rec, fmt.Errorf("conformance: the guest (%s): %w", command, err)
	}
	return rec, read
}

// ReadRuns reads the file that [Guest] gives to the program.
func ReadRuns(file string) (runs []Run, err error) {
	data, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(data, &runs)
	}
	if err != nil {
		return nil, fmt.Errorf("conformance: read the runs: %w", err)
	}
	return runs, nil
}

// Write writes the recording in lines for [ReadRecording].
func (rec *Recording) Write(w io.Writer) error {
	var packed bytes.Buffer
	if err := rec.pack(&packed); err != nil {
		return fmt.Errorf("conformance: write a recording: %w", err)
	}
	text := base64.StdEncoding.EncodeToString(packed.Bytes())
	b := bufio.NewWriter(w)
	for len(text) > 0 {
		n := min(len(text), lineLen)
		fmt.Fprintf(b, "%s%s\n", linePrefix, text[:n])
		text = text[n:]
	}
	fmt.Fprintln(b, linePrefix+".")
	if err := b.Flush(); err != nil {
		return fmt.Errorf("conformance: write a recording: %w", err)
	}
	return nil
}

// ReadRecording reads what [Recording.Write] wrote from among other lines, which
// go to log.
func ReadRecording(r io.Reader, log io.Writer) (rec Recording, err error) {
	var text strings.Builder
	whole := false
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		line := strings.TrimRight(sc.Text(), "\r")
		part, ours := strings.CutPrefix(line, linePrefix)
		switch {
		case !ours:
			fmt.Fprintln(log, line)
		case part == ".":
			whole = true
		default:
			text.WriteString(part)
		}
	}
	if err := sc.Err(); err != nil {
		return rec, fmt.Errorf("conformance: read a recording: %w", err)
	}
	if !whole {
		return rec, fmt.Errorf("conformance: the guest's output holds no whole recording")
	}
	if err := rec.unpack(base64.NewDecoder(base64.StdEncoding, strings.NewReader(text.String()))); err != nil {
		return rec, fmt.Errorf("conformance: read a recording: %w", err)
	}
	return rec, nil
}
