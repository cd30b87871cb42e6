package latency

// Since returns the figures of what was counted after another summary of the same
// histograms. Their mean is not known and the longest is that of its bucket. budget is
// in nanoseconds.
func (s *Summary) Since(before *Summary, budget int64) Summary {
	was := make(map[int64]uint64, len(before.Buckets))
	for _, b := range before.Buckets {
		was[b.Upper] = b.Count
	}
	n := Summary{Buckets: []Bucket{}}
	var over uint64
	for _, b := range s.Buckets {
		if was[b.Upper] > b.Count {
			return s.Since(&Summary{}, budget) // counted anew in between
		}
		c := b.Count - was[b.Upper]
		if c == 0 {
			continue
		}
		n.Buckets = append(n.Buckets, Bucket{b.Upper, c})
		n.Count += c
		n.Max = min(b.Upper, s.Max)
		if b.Upper > budget {
			over += c
		}
	}
	n.figures(over)
	return n
}

// figures are worked out of the buckets.
func (s *Summary) figures(over uint64) {
	if s.Count == 0 {
		return
	}
	s.Over = float64(over) / float64(s.Count)
	s.P50, s.P90 = s.quantile(0.5), s.quantile(0.9)
	s.P99, s.P999 = s.quantile(0.99), s.quantile(0.999)
}
