package conformance

import (
	"fmt"
	"io"
)

// Report is what came of comparing a kernel with the engine.
type Report struct {
	Release string   `json:"kernel"` // as uname -r
	Results []Result `json:"runs"`
}

// Result is what came of one run.
type Result struct {
	Config
	// Missing says why the run was left out, if it was.
	Missing    string      `json:"missing,omitempty"`
	Difference *Difference `json:"difference,omitempty"`
}

// CompareAll compares the engine with what a kernel did in the recording's runs.
func CompareAll(rec *Recording) (*Report, error) {
	runs := rec.Runs
	if len(rec.Traces) != len(runs) {
		return nil, fmt.Errorf("conformance: %d runs were recorded, not %d", len(rec.Traces), len(runs))
	}
	rep := &Report{Release: rec.Release}
	for i := range runs {
		res := Result{Config: runs[i].Config, Missing: rec.Traces[i].Missing}
		if res.Missing == "" {
			o, err := NewEngine()
			if err != nil {
				return nil, err
			}
			if res.Difference, err = Compare(&runs[i], rec.Traces[i].Seen, o); err != nil {
				return nil, err
			}
		}
		rep.Results = append(rep.Results, res)
	}
	return rep, nil
}

// Differences returns how many runs differ.
func (r *Report) Differences() (n int) {
	for i := range r.Results {
		if r.Results[i].Difference != nil {
			n++
		}
	}
	return n
}

// Write prints the report: a line for each run, and all about each first
// difference.
func (r *Report) Write(w io.Writer) {
	fmt.Fprintf(w, "vsnat and the IPVS of Linux %s\n\n", r.Release)
	fmt.Fprintf(w, "%-10s %20s %7s  %s\n", "scheduler", "seed", "steps", "result")
	for i := range r.Results {
		res := &r.Results[i]
		text := "the same"
		switch {
		case res.Missing != "":
			text = "left out: this kernel has no " + res.Missing
		case res.Difference != nil:
			text = fmt.Sprintf("DIFFERENT at step %d", res.Difference.Step)
		}
		fmt.Fprintf(w, "%-10s %20d %7d  %s\n", res.Scheduler, res.Seed, res.Steps, text)
	}
	for i := range r.Results {
		if res := &r.Results[i]; res.Difference != nil {
			fmt.Fprintf(w, "\nscheduler %s, seed %d, step %d: %s\n", res.Scheduler, res.Seed, res.Difference.Step, res.Difference.Text)
			res.Difference.write(w)
			fmt.Fprintf(w, "  again: vsnat bench conformance --scheduler %s --seed %d --seeds 1 --steps %d", res.Scheduler, res.Seed, res.Steps)
			if res.NoThresholds {
				fmt.Fprint(w, " --no-thresholds")
			}
			if res.Wide {
				fmt.Fprint(w, " --wide")
			}
			if res.IPv6 {
				fmt.Fprint(w, " --ipv6")
			}
			fmt.Fprintln(w)
		}
	}
}

func (d *Difference) write(w io.Writer) {
	for _, line := range d.What {
		fmt.Fprintf(w, "  %s\n", line)
	}
	if len(d.Before) > 0 {
		fmt.Fprintln(w, "  steps before it that may matter:")
		for _, line := range d.Before {
			fmt.Fprintf(w, "    %s\n", line)
		}
	}
	for _, s := range []struct {
		name string
		list []Server
	}{{"the kernel", d.Kernel}, {"vsnat", d.Engine}} {
		if len(s.list) > 0 {
			fmt.Fprintf(w, "  servers in %s, in list order, load as lc and wlc count it:\n", s.name)
		}
		for i := range s.list {
			fmt.Fprintf(w, "    %s, load %d\n", &s.list[i], int64(s.list[i].Active)*257+int64(s.list[i].Inactive))
		}
	}
}
