package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress shows how far the experiment is: a bar on a terminal, a line every
// few seconds elsewhere.
type progress struct {
	w    io.Writer
	tty  bool
	what string
	done int // of that many, unless of is 0
	of   int
	bar  *progressbar.ProgressBar
	last time.Time
}

// lineEvery is the time between two lines where there is no terminal.
const lineEvery = 5 * time.Second

func newProgress(w io.Writer) *progress {
	f, ok := w.(*os.File)
	return &progress{w: w, tty: ok && term.IsTerminal(int(f.Fd()))}
}

func (p *progress) step(what string, done, of int) {
	p.done, p.of = done, of
	switch {
	case what != p.what:
		p.finish()
		p.what, p.last = what, time.Now()
		if of == 0 || !p.tty {
			fmt.Fprintln(p.w, what)
			return
		}
		p.bar = progressbar.NewOptions(of,
			progressbar.OptionSetWriter(p.w), progressbar.OptionSetDescription(what), progressbar.OptionShowCount(),
			progressbar.OptionSetWidth(40), progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionUseANSICodes(os.Getenv("NO_COLOR") == ""), progressbar.OptionClearOnFinish())
	case p.bar != nil:
		_ = p.bar.Set(done) // a bar that cannot be drawn stops nothing
	case !p.tty && time.Since(p.last) >= lineEvery:
		p.last = time.Now()
		fmt.Fprintf(p.w, "%s: %d of %d\n", what, done, of)
	}
}

// interrupted returns what ended a measurement: if it was a signal, how far it was
// by then, and what went wrong in cleaning up, if anything did.
func (p *progress) interrupted(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	said := "bench: interrupted: " + p.what
	if p.of > 0 {
		said += fmt.Sprintf(", %d of %d done", p.done, p.of)
	}
	if text := err.Error(); text == context.Canceled.Error() || text == context.Cause(ctx).Error() {
		return errors.New(said + "; there are no figures, and nothing is left behind")
	}
	return fmt.Errorf("%s; there are no figures: %w", said, err)
}

func (p *progress) finish() {
	if p.bar != nil {
		_ = p.bar.Finish()
		p.bar = nil
	}
}
