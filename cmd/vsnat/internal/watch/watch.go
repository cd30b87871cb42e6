// Package watch shows something that changes, again and again in the same place,
// on a full screen that a terminal forgets afterwards.
package watch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
)

// Run shows what ask returns, anew after every time of that length, until the
// user ends it with q or ^C. An error is shown in its place, unless it is the
// first: then it is returned.
func Run(ctx context.Context, in io.Reader, out io.Writer, title string, every time.Duration, ask func(context.Context) (string, error)) error {
	text, err := ask(ctx)
	if err != nil {
		return err
	}
	return Show(ctx, in, out, &model{
		title: title, text: text, at: time.Now(),
		poll: Poll[string]{every, func() (string, error) { return ask(ctx) }},
	})
}

// Show runs a full-screen program on a terminal. That the user ended it by a
// signal is no error.
func Show(ctx context.Context, in io.Reader, out io.Writer, m tea.Model) error {
	_, err := tea.NewProgram(m, tea.WithContext(ctx), tea.WithInput(in), tea.WithOutput(out)).Run()
	if errors.Is(err, tea.ErrInterrupted) || ctx.Err() != nil {
		return nil
	}
	return err
}

// model is what is shown.
type model struct {
	title         string
	poll          Poll[string]
	text          string
	err           error
	at            time.Time // of the last answer
	width, height int
}

// Init implements [tea.Model].
func (m *model) Init() tea.Cmd { return m.poll.Wait() }

// Update implements [tea.Model].
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
		return m, nil
	case tea.KeyPressMsg:
		if Quits(msg) {
			return m, tea.Quit
		}
		return m, nil
	}
	answer, cmd := m.poll.Next(msg)
	if answer != nil {
		if m.err = answer.Err; m.err == nil {
			m.text, m.at = answer.Value, time.Now()
		}
	}
	return m, cmd
}

// Quits reports whether a key ends the program.
func Quits(key tea.KeyPressMsg) bool {
	switch key.String() {
	case "q", "Q", "esc", "ctrl+c":
		return true
	}
	return false
}

// View implements [tea.Model].
func (m *model) View() tea.View {
	head := fmt.Sprintf("%s, every %s, last at %s; q ends", m.title, m.poll.Every, m.at.Format("15:04:05"))
	lines := []string{head}
	if m.err != nil {
		lines = append(lines, "", m.err.Error())
	}
	lines = append(lines, "")
	lines = append(lines, strings.Split(strings.TrimSuffix(m.text, "\n"), "\n")...)
	return Screen(lines, m.height)
}

// Screen returns the lines as a full-screen view, and of those that are too many
// how many there are.
func Screen(lines []string, height int) tea.View {
	if height > 1 && len(lines) > height {
		more := len(lines) - height + 1
		lines = append(lines[:height-1:height-1], fmt.Sprintf("… %d lines more", more))
	}
	v := tea.NewView(strings.Join(lines, "\n"))
	v.AltScreen = true
	return v
}
