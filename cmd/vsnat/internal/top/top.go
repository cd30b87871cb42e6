package top

import (
	"context"
	"fmt"
	"os"
	"time"

	tea "charm.land/bubbletea/v2"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/cmd/vsnat/internal/watch"
)

// Run shows the screen on a terminal until the user ends it. If the director
// cannot be asked at first, it returns why.
func Run(ctx context.Context, in, out *os.File, c *control.Client, every time.Duration) error {
	first, err := Take(ctx, c)
	if err != nil {
		return err
	}
	return watch.Show(ctx, in, out, &model{
		now: first, paint: paint(os.Getenv("NO_COLOR") == ""),
		poll: watch.Poll[*Sample]{Every: every, Ask: func() (*Sample, error) { return Take(ctx, c) }},
	})
}

// model is the state of the screen.
type model struct {
	poll  watch.Poll[*Sample]
	paint paint

	before, now   *Sample // before is nil at first
	err           error   // of the last time that it was tried
	order         Order
	first         int // line of the table that is shown first
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
		return m, m.key(msg)
	}
	answer, cmd := m.poll.Next(msg)
	if answer != nil {
		if m.err = answer.Err; m.err == nil {
			m.before, m.now = m.now, answer.Value
		}
	}
	return m, cmd
}

func (m *model) key(key tea.KeyPressMsg) tea.Cmd {
	if watch.Quits(key) {
		return tea.Quit
	}
	switch key.String() {
	case "s":
		m.order = (m.order + 1) % orders
	case "up", "k":
		m.first--
	case "down", "j":
		m.first++
	case "pgup":
		m.first -= m.room()
	case "pgdown", "space":
		m.first += m.room()
	case "home":
		m.first = 0
	}
	return nil
}

// headLines is how many lines there are above the table's rows: the director's,
// a blank or what is wrong, and the titles.
const headLines = 9

// room is how many rows fit.
func (m *model) room() int { return max(m.height-headLines-1, 1) }

// View implements [tea.Model].
func (m *model) View() tea.View {
	lines := head(m.before, m.now, m.paint)
	problem := ""
	if m.err != nil {
		problem = m.paint.bad(m.err.Error())
	}
	table := rows(m.now, m.order, m.width, m.paint)
	m.first = max(0, min(m.first, len(table)-m.room()))
	shown := table[m.first:min(len(table), m.first+m.room())]
	lines = append(lines, problem, "\x1b[7m"+pad(titles(m.width), max(m.width, leastName+figuresAt))+"\x1b[0m")
	lines = append(lines, shown...)
	for len(lines) < m.height-1 {
		lines = append(lines, "")
	}
	foot := fmt.Sprintf("q quit   s sort: %s   ↑↓ scroll", m.order)
	if len(table) > len(shown) {
		foot += fmt.Sprintf("   %d-%d of %d", m.first+1, m.first+len(shown), len(table))
	}
	return watch.Screen(append(lines, foot), m.height)
}
