package ipvsadm

import "strings"

// argKind says whether an option takes an argument.
type argKind uint8

const (
	noArg argKind = iota
	needArg
	optArg // the next word unless that begins with '-'
)

// option is one row of a program's option table.
type option struct {
	long  string
	short byte // 0 for none
	arg   argKind
	tag   tag
}

// scanner reads options as popt 1.19 does: options and other words may be
// mixed, short options may be bundled, an argument may follow in the same word
// (with or without '=') or in the next, a long option has no short forms and
// "--" ends the options.
type scanner struct {
	table  []option
	args   []string
	next   int      // index of the next word
	bundle string   // rest of a word of short options
	words  []string // what is no option, in order
}

func newScanner(table []option, args []string) *scanner {
	return &scanner{table: table, args: args}
}

// scanError is an option that cannot be read.
type scanError struct {
	word   string // the word it stands in
	reason string // popt's words
}

func (e *scanError) Error() string { return e.word + ": " + e.reason }

// word returns the word read last, which is how popt names an option.
func (s *scanner) word() string {
	if s.next == 0 {
		return ""
	}
	return s.args[s.next-1]
}

func (s *scanner) fail(reason string) (*option, *string, error) {
	return nil, nil, &scanError{s.word(), reason}
}

// scan returns the next option with its argument, nil without one; a nil
// option is the end.
func (s *scanner) scan() (*option, *string, error) {
	var opt *option
	var long *string // argument after '=' in a long option
	if s.bundle == "" {
		for {
			if s.next == len(s.args) {
				return nil, nil, nil
			}
			word := s.args[s.next]
			s.next++
			if word == "--" {
				s.words = append(s.words, s.args[s.next:]...)
				s.next = len(s.args)
				return nil, nil, nil
			}
			if len(word) > 1 && word[0] == '-' {
				break
			}
			s.words = append(s.words, word)
		}
		if name, isLong := strings.CutPrefix(s.word(), "--"); isLong {
			name, value, hasValue := strings.Cut(name, "=")
			if opt = s.byLong(name); opt == nil {
				return s.fail("unknown option")
			}
			if hasValue {
				long = &value
			}
		} else {
			s.bundle = s.word()[1:]
		}
	}
	if opt == nil {
		if opt = s.byShort(s.bundle[0]); opt == nil {
			return s.fail("unknown option")
		}
		s.bundle = s.bundle[1:]
	}
	return s.argument(opt, long)
}

// argument finds the argument of an option that has just been read.
func (s *scanner) argument(opt *option, long *string) (*option, *string, error) {
	if opt.arg == noArg {
		if long != nil || strings.HasPrefix(s.bundle, "=") {
			return s.fail("option does not take an argument")
		}
		return opt, nil, nil
	}
	if long != nil {
		return opt, long, nil
	}
	if s.bundle != "" {
		value := strings.TrimPrefix(s.bundle, "=")
		s.bundle = ""
		return opt, &value, nil
	}
	if s.next == len(s.args) {
		if opt.arg == optArg {
			return opt, nil, nil
		}
		return s.fail("missing argument")
	}
	if opt.arg == optArg && strings.HasPrefix(s.args[s.next], "-") {
		return opt, nil, nil
	}
	value := s.args[s.next]
	s.next++
	return opt, &value, nil
}

func (s *scanner) byLong(name string) *option {
	for i := range s.table {
		if s.table[i].long == name {
			return &s.table[i]
		}
	}
	return nil
}

func (s *scanner) byShort(c byte) *option {
	for i := range s.table {
		if s.table[i].short == c && c != 0 {
			return &s.table[i]
		}
	}
	return nil
}
