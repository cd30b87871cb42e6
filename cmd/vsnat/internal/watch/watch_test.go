package watch

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
)

// TestModel goes through what happens to a screen.
func TestModel(t *testing.T) {
	text, err := strings.Repeat("line\n", 30), error(nil)
	m := &model{title: "vsnat x", poll: Poll[string]{time.Millisecond, func() (string, error) { return text, err }}}
	send := func(msg tea.Msg) tea.Cmd {
		t.Helper()
		_, cmd := m.Update(msg)
		return cmd
	}
	send(tea.WindowSizeMsg{Width: 40, Height: 10})
	ask := send(due{})
	if ask == nil {
		t.Fatal("nobody is asked")
	}
	if send(ask()) == nil {
		t.Error("it ends after one answer")
	}
	lines := strings.Split(m.View().Content, "\n")
	if len(lines) != 10 || !strings.HasPrefix(lines[0], "vsnat x, every 1ms") || lines[9] != "… 23 lines more" || !m.View().AltScreen {
		t.Errorf("%q", lines)
	}

	// What cannot be asked now is told, and what was known stays.
	err = errors.New("nobody answers")
	send(send(due{})())
	if c := m.View().Content; !strings.Contains(c, "nobody answers") || !strings.Contains(c, "line\n") {
		t.Errorf("%q", c)
	}
	text, err = "good\n", nil
	send(send(due{})())
	if c := m.View().Content; strings.Contains(c, "nobody") || !strings.Contains(c, "good") {
		t.Errorf("%q", c)
	}

	for key, ends := range map[string]bool{"q": true, "x": false} {
		cmd := send(tea.KeyPressMsg{Code: rune(key[0]), Text: key})
		if (cmd != nil) != ends {
			t.Errorf("%s: ends: %v", key, cmd != nil)
		}
	}
	if cmd := send(tea.KeyPressMsg{Code: 'c', Mod: tea.ModCtrl}); cmd == nil {
		t.Error("^C does not end it")
	}
}

func TestFirstErrorIsReturned(t *testing.T) {
	want := errors.New("nobody answers")
	err := Run(context.Background(), strings.NewReader(""), nil, "x", time.Second, func(context.Context) (string, error) { return "", want })
	if !errors.Is(err, want) {
		t.Errorf("%v", err)
	}
}
