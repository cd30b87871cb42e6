package lab

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"
)

// Limiter holds a server to a rate. It is a token bucket whose callers wait
// instead of being refused: each takes its token at once, into debt if need
// be, and waits until the debt is paid. Being late does not slow the rate down:
// what was lost to a late wake-up is made up from the bucket, which holds 20 ms
// worth of requests, and at least one.
//
// All sums are in whole numbers, so that no rate drifts. The unit is the
// trillionth of a request: at r requests per 1000 s, r of them accrue in 1 ns.
type Limiter struct {
	rate  int64 // requests per 1000 s; immutable
	burst int64 // the full bucket; immutable
	now   func() time.Time

	mu     sync.Mutex
	tokens int64     // guarded by mu; below 0 is debt
	last   time.Time // guarded by mu; when tokens was true
}

// request is the cost of one request.
const request int64 = 1e12

// The bounds of a rate, requests per second. At the upper one the bucket,
// 2e17 units, is far from the end of an int64.
const (
	MinRate = 0.001
	MaxRate = 1e7
)

// NewLimiter returns a limiter with a full bucket. The rate is in requests per
// second, from 0.001 to 10,000,000, kept to the nearest thousandth; now is the
// clock.
func NewLimiter(rate float64, now func() time.Time) (*Limiter, error) {
	if !(rate >= MinRate && rate <= MaxRate) { // also refuses NaN
		return nil, fmt.Errorf("lab: rate %v requests/s: want %v to %.0f", rate, MinRate, MaxRate)
	}
	r := int64(math.Round(rate * 1000))
	burst := max(request, r*int64(20*time.Millisecond))
	return &Limiter{rate: r, burst: burst, now: now, tokens: burst, last: now()}, nil
}

// Reserve takes the next free place and returns how long its owner has to wait.
func (l *Limiter) Reserve() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	elapsed := max(0, now.Sub(l.last).Nanoseconds())
	if elapsed > (l.burst-l.tokens)/l.rate {
		l.tokens = l.burst
	} else {
		l.tokens += elapsed * l.rate
	}
	l.last = now
	// It would take nine million waiting callers to overflow.
	l.tokens -= request
	if l.tokens >= 0 {
		return 0
	}
	return time.Duration((-l.tokens + l.rate - 1) / l.rate)
}

// Wait returns when it is the caller's turn, or with ctx's error when ctx ends
// first; the caller's place is then lost.
func (l *Limiter) Wait(ctx context.Context) error {
	d := l.Reserve()
	if d == 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
