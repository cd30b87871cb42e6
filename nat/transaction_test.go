package nat

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"syscall"
	"testing"

	"vsnat/conntrack"
)

// randomCommand returns a command that any of a few services and servers are
// meant by, so that about half are refused.
func randomCommand(rnd *rand.Rand) func(tx *Tx) error {
	key := ServiceKey{Proto: ProtoTCP, Addr: netip.MustParseAddr("192.0.2.1").As16(), Port: uint16(80 + rnd.IntN(3))}
	if rnd.IntN(4) == 0 {
		key = ServiceKey{Mark: uint32(1 + rnd.IntN(2))}
	}
	spec := ServiceSpec{
		Key: key, Scheduler: []string{"rr", "mh", "nosuch"}[min(rnd.IntN(12), 2)%3], Persistent: rnd.IntN(2) == 0, Timeout: 10,
	}
	server := ServerSpec{
		Key:    ServerKey{Addr: netip.AddrFrom4([4]byte{[]byte{10, 10, 10, 224}[rnd.IntN(4)], 0, 0, byte(rnd.IntN(3))}).As16(), Port: 80},
		Weight: int32(rnd.IntN(8) - 1),
	}
	rules := []MarkRule{{Selector{FirstPort: uint16(rnd.IntN(3)), LastPort: 1}, uint32(rnd.IntN(3))}}
	settings := DefaultSettings()
	settings.DropPacket = rnd.IntN(5)
	n := rnd.IntN(24)
	return func(tx *Tx) error {
		switch {
		case n < 5:
			return tx.AddService(spec)
		case n < 7:
			return tx.EditService(spec)
		case n < 9:
			return tx.DeleteService(key)
		case n < 15:
			return tx.AddServer(key, server)
		case n < 17:
			return tx.EditServer(key, server)
		case n < 19:
			return tx.DeleteServer(key, server.Key)
		case n < 20:
			return tx.SetMarkRules(rules)
		case n < 21:
			return tx.SetSettings(settings)
		case n < 23:
			return tx.Zero(&key)
		}
		tx.Flush()
		return nil
	}
}

// world is all that commands can change.
func world(e *Engine) (w struct {
	Services []ServiceInfo
	Rules    []MarkRule
	Settings Settings
},
) {
	e.Update(func(tx *Tx) { w.Services, w.Rules, w.Settings = tx.Services(), tx.MarkRules(), tx.Settings() })
	return w
}

// inTurn carries out commands until one is refused.
func inTurn(tx *Tx, commands []func(tx *Tx) error) error {
	for i, c := range commands {
		if err := c(tx); err != nil {
			return fmt.Errorf("%d: %w", i, err)
		}
	}
	return nil
}

// A transaction refuses what the same commands, one by one, refuse first, and
// changes nothing; or it does what they do.
func TestTransactionIsTheCommandsOrNothing(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	engine := func() *Engine {
		e, err := New(Options{Conns: conntrack.Config{Max: 16}})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	done, refused := 0, 0
	for range 30 {
		all := engine()
		var history []func(tx *Tx) error // all that was carried out
		all.Update(func(tx *Tx) {
			for len(history) < 6 {
				if c := randomCommand(rnd); c(tx) == nil {
					history = append(history, c)
				}
			}
		})
		for range 60 {
			var commands []func(tx *Tx) error
			for range 1 + rnd.IntN(3) {
				commands = append(commands, randomCommand(rnd))
			}
			before := world(all)
			owned := all.Owned()
			err := all.Transact(func(tx *Tx) error { return inTurn(tx, commands) }, func(soon Endpoints) error {
				owned.Services = append(owned.Services, soon.Services...)
				owned.Servers = append(owned.Servers, soon.Servers...)
				return nil
			})
			one := engine()
			var first error
			one.Update(func(tx *Tx) {
				if err := inTurn(tx, history); err != nil {
					t.Fatalf("what was done is refused one by one: %v", err)
				}
				first = inTurn(tx, commands)
			})
			after := world(all)
			if fmt.Sprint(err) != fmt.Sprint(first) {
				t.Fatalf("refused with %v, one by one with %v", err, first)
			}
			if err != nil {
				refused++
				if !reflect.DeepEqual(after, before) {
					t.Fatalf("refused (%v), and left\n%+v, not\n%+v", err, after, before)
				}
				continue
			}
			done++
			history = append(history, commands...)
			if w := world(one); !reflect.DeepEqual(after, w) {
				t.Fatalf("in a transaction\n%+v, one by one\n%+v", after, w)
			}
			now := all.Owned()
			for _, ep := range now.Services {
				if !slices.Contains(owned.Services, ep) {
					t.Fatalf("service %+v is owned and was not told before", ep)
				}
			}
			for _, ep := range now.Servers {
				if !slices.Contains(owned.Servers, ep) {
					t.Fatalf("server %+v is owned and was not told before", ep)
				}
			}
		}
	}
	if done < 50 || refused < 50 {
		t.Errorf("%d done and %d refused: the test is lopsided", done, refused)
	}
}

// What the guard refuses is not done.
func TestTransactionWaitsForTheGuard(t *testing.T) {
	b := newBed(t, Options{})
	before := world(b.e)
	err := b.e.Transact(func(tx *Tx) error {
		tx.Flush()
		return nil
	}, func(Endpoints) error { return syscall.ENOSPC })
	if !errors.Is(err, syscall.ENOSPC) {
		t.Error(err)
	}
	if after := world(b.e); !reflect.DeepEqual(after, before) {
		t.Errorf("left %+v", after)
	}
}

// bigTable adds 5,000 services of 10 servers.
func bigTable(tx *Tx) error {
	for i := range 5000 {
		k := ServiceKey{Proto: ProtoTCP, Addr: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}).As16(), Port: 80}
		if err := tx.AddService(ServiceSpec{Key: k, Scheduler: "wrr"}); err != nil {
			return err
		}
		for r := range 10 {
			s := ServerSpec{Key: ServerKey{Addr: netip.AddrFrom4([4]byte{10, byte(1 + r), byte(i >> 8), byte(i)}).As16(), Port: 8080}, Weight: 1}
			if err := tx.AddServer(k, s); err != nil {
				return err
			}
		}
	}
	return nil
}

func nobody(Endpoints) error { return nil }

// A table of 5,000 services of 10 servers, from nothing and in place of itself.
func BenchmarkTransactBigTable(b *testing.B) {
	bed := newBed(b, Options{})
	for b.Loop() {
		err := bed.e.Transact(func(tx *Tx) error {
			tx.Flush()
			return bigTable(tx)
		}, nobody)
		if err != nil {
			b.Fatal(err)
		}
	}
}

// One weight, or one server, in a table of 5,000 services of 10 servers.
func BenchmarkTransactOneChange(b *testing.B) {
	bed := newBed(b, Options{})
	if err := bed.e.Transact(bigTable, nobody); err != nil {
		b.Fatal(err)
	}
	k := ServiceKey{Proto: ProtoTCP, Addr: netip.MustParseAddr("10.0.9.9").As16(), Port: 80}
	weight := ServerSpec{Key: ServerKey{Addr: netip.MustParseAddr("10.3.9.9").As16(), Port: 8080}}
	b.Run("weight", func(b *testing.B) {
		for b.Loop() {
			weight.Weight ^= 1
			if err := bed.e.Transact(func(tx *Tx) error { return tx.EditServer(k, weight) }, nobody); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("server", func(b *testing.B) {
		for b.Loop() {
			err := bed.e.Transact(func(tx *Tx) error {
				return errors.Join(tx.DeleteServer(k, weight.Key), tx.AddServer(k, weight))
			}, nobody)
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}
