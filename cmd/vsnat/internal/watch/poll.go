package watch

import (
	"time"

	tea "charm.land/bubbletea/v2"
)

// Poll asks something again and again: after every answer it waits that long.
type Poll[T any] struct {
	Every time.Duration
	Ask   func() (T, error)
}

// Answer is what was answered.
type Answer[T any] struct {
	Value T
	Err   error
}

// due is the message that it is time to ask.
type due struct{}

// Wait returns the command that waits until it is time.
func (p *Poll[T]) Wait() tea.Cmd {
	return tea.Tick(p.Every, func(time.Time) tea.Msg { return due{} })
}

// Next takes a message, if it is one of the poll's, and returns the command that
// follows. answer is nil unless the message has one.
func (p *Poll[T]) Next(msg tea.Msg) (answer *Answer[T], cmd tea.Cmd) {
	switch msg := msg.(type) {
	case due:
		return nil, func() tea.Msg {
			v, err := p.Ask()
			return Answer[T]{v, err}
		}
	case Answer[T]:
		return &msg, p.Wait()
	}
	return nil, nil
}
