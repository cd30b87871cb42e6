package conformance

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
)

// Recording is what a kernel did in several runs.
type Recording struct {
	Release string  `json:"release"`        // of the kernel, as uname -r
	Runs    []Run   `json:"runs,omitempty"` // only in a file of its own
	Traces  []Trace `json:"traces"`
}

func (rec *Recording) pack(w io.Writer) error {
	zip := gzip.NewWriter(w)
	if err := json.NewEncoder(zip).Encode(rec); err != nil {
		return err
	}
	return zip.Close()
}

func (rec *Recording) unpack(r io.Reader) error {
	zip, err := gzip.NewReader(r)
	if err != nil {
		return err
	}
	return json.NewDecoder(zip).Decode(rec)
}

// Save writes the recording, with its runs, to a file for [Load].
func (rec *Recording) Save(file string) (err error) {
	f, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("conformance: save a recording: %w", err)
	}
	err = rec.pack(f)
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("conformance: save a recording: %w", err)
	}
	return nil
}

// Load reads a recording that [Recording.Save] wrote.
func Load(file string) (rec Recording, err error) {
	f, err := os.Open(file)
	if err != nil {
		return rec, fmt.Errorf("conformance: load a recording: %w", err)
	}
	defer f.Close()
	if err := rec.unpack(f); err != nil {
		return rec, fmt.Errorf("conformance: load a recording from %s: %w", file, err)
	}
	return rec, nil
}
