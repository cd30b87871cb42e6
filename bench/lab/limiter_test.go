package lab

import (
	"context"
	"errors"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// modelLimiter is the bucket in exact fractions, without any cleverness.
type modelLimiter struct {
	rate, burst, tokens *big.Rat // requests per second, requests, requests
	last                time.Duration
}

func newModelLimiter(milliRate int64) *modelLimiter {
	rate := big.NewRat(milliRate, 1000)
	burst := new(big.Rat).Mul(rate, big.NewRat(20, 1000))
	if one := big.NewRat(1, 1); burst.Cmp(one) < 0 {
		burst = one
	}
	return &modelLimiter{rate: rate, burst: burst, tokens: new(big.Rat).Set(burst)}
}

func (m *modelLimiter) reserve(now time.Duration) time.Duration {
	if now > m.last {
		gain := new(big.Rat).Mul(m.rate, big.NewRat(int64(now-m.last), 1e9))
		if m.tokens.Add(m.tokens, gain); m.tokens.Cmp(m.burst) > 0 {
			m.tokens.Set(m.burst)
		}
	}
	m.last = now
	m.tokens.Sub(m.tokens, big.NewRat(1, 1))
	if m.tokens.Sign() >= 0 {
		return 0
	}
	wait := new(big.Rat).Quo(new(big.Rat).Neg(m.tokens), m.rate)
	wait.Mul(wait, big.NewRat(1e9, 1))
	// Rounded up to a whole nanosecond.
	q, r := new(big.Int).QuoRem(wait.Num(), wait.Denom(), new(big.Int))
	if r.Sign() > 0 {
		q.Add(q, big.NewInt(1))
	}
	return time.Duration(q.Int64())
}

func TestLimiterIsExact(t *testing.T) {
	const seed = 712
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	start := time.Unix(1e9, 0)
	for _, rate := range []float64{712, 71.24, 55.24, 1, 0.001, 3, 999999.999, 1e7} {
		now := time.Duration(0)
		l, err := NewLimiter(rate, func() time.Time { return start.Add(now) })
		if err != nil {
			t.Fatal(err)
		}
		m := newModelLimiter(int64(math.Round(rate * 1000)))
		gap := time.Duration(2e9 / rate) // the mean is half of it: about the rate
		for i := range 5000 {
			if got, want := l.Reserve(), m.reserve(now); got != want {
				t.Fatalf("rate %v: request %d at %v waits %v, the model says %v", rate, i, now, got, want)
			}
			switch rnd.IntN(20) {
			case 0: // a long pause, which fills the bucket and no more
				now += time.Duration(rnd.Int64N(int64(100 * gap)))
			case 1, 2, 3, 4, 5: // a burst
			case 6: // a clock that goes back gives nothing
				l.Reserve()
				m.reserve(now)
			default:
				now += time.Duration(rnd.Int64N(int64(gap)))
			}
		}
	}
}

// TestLimiterHoldsTheRate says it once without a model: under more load than
// the rate, the n-th request beyond the bucket goes at n/rate.
func TestLimiterHoldsTheRate(t *testing.T) {
	now := time.Unix(1e9, 0)
	l, err := NewLimiter(712, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	const n = 71200
	var last time.Duration
	for range n {
		last = l.Reserve()
	}
	// The bucket holds 20 ms worth: 14.24 requests.
	if want := 100*time.Second - 20*time.Millisecond; last != want {
		t.Errorf("request %d goes at %v, want %v", n, last, want)
	}
}

func TestLimiterWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := NewLimiter(10, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		for range 11 {
			if err := l.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if got := time.Since(start); got != time.Second {
			t.Errorf("eleven requests at 10/s took %v, want 1s", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if err := l.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a wait of 100 ms with 50 ms of patience: %v", err)
		}
	})
}

func TestLimiterRefusesRates(t *testing.T) {
	for _, rate := range []float64{0, -1, 0.0009, 1.1e7, math.NaN(), math.Inf(1)} {
		if _, err := NewLimiter(rate, time.Now); err == nil {
			t.Errorf("a rate of %v was taken", rate)
		}
	}
}
