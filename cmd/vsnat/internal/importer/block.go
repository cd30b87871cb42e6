package importer

import "strings"

// statement is a line of keepalived.conf, or a block with its statements.
type statement struct {
	line  int
	words []string // the keyword and what follows it
	block []*statement
	open  bool // a block, even if an empty one
}

// key is the keyword.
func (s *statement) key() string { return s.words[0] }

// arg returns what follows the keyword at place i, from 1, "" for nothing.
func (s *statement) arg(i int) string {
	if i < len(s.words) {
		return s.words[i]
	}
	return ""
}

// String returns the statement without what is in its block.
func (s *statement) String() string {
	text := strings.Join(s.words, " ")
	if s.open {
		text += " { ... }"
	}
	return text
}

// maxDepth is how deep blocks may be in one another.
const maxDepth = 32

// blocks reads statements: words on a line, blocks in braces, of which the first
// may be on a line of its own. A comment begins with ! or #. lose is told of what
// cannot be read.
func blocks(text string, lose func(line int, what, why string)) []*statement {
	root := &statement{open: true}
	stack := []*statement{root}
	define := map[string]string{}
	n := 0
	for line := range strings.Lines(text) {
		n++
		words := fields(line)
		if len(words) > 0 && strings.HasPrefix(words[0], "$") && assign(define, words) {
			continue
		}
		if len(words) > 0 && strings.HasPrefix(words[0], "@") {
			// What follows the keyword may be a secret.
			lose(n, strings.Join(words[:min(2, len(words))], " "), "whether this is meant depends on how keepalived is started")
			continue
		}
		var s *statement
		for _, w := range words {
			top := stack[len(stack)-1]
			switch w {
			case "{":
				if s == nil && len(top.block) > 0 && !top.block[len(top.block)-1].open {
					s = top.block[len(top.block)-1]
				}
				if s == nil || len(stack) > maxDepth {
					lose(n, line, "a block that begins nowhere")
					return root.block
				}
				s.open = true
				stack, s = append(stack, s), nil
			case "}":
				if s = nil; len(stack) == 1 {
					lose(n, line, "a block ends that has not begun")
					continue
				}
				stack = stack[:len(stack)-1]
			default:
				if s == nil {
					s = &statement{line: n}
					top.block = append(top.block, s)
				}
				s.words = append(s.words, expand(w, define))
			}
		}
	}
	if len(stack) > 1 {
		last := stack[len(stack)-1]
		lose(last.line, last.String(), "this block does not end")
	}
	return root.block
}

// fields returns the words of a line without its comment. A word in quotes may
// have blanks; braces are words of their own.
func fields(line string) (words []string) {
	for {
		line = strings.TrimLeft(line, " \t\r\n\v\f")
		if line == "" || line[0] == '#' || line[0] == '!' {
			return words
		}
		end := 1
		switch c := line[0]; {
		case c == '"' || c == '\'':
			if end = strings.IndexByte(line[1:], c); end < 0 {
				return append(words, strings.TrimSpace(line[1:]))
			}
			words, line = append(words, line[1:1+end]), line[end+2:]
			continue
		case c == '{' && len(line) > 1 && strings.ContainsAny(line[1:2], " \t\r\n#!}"), c == '{' && len(line) == 1, c == '}':
		default:
			for end < len(line) && !strings.ContainsRune(" \t\r\n\v\f", rune(line[end])) {
				if line[end] == '}' && !strings.Contains(line[:end], "{") || line[end] == '{' && line[end-1] != '$' {
					break
				}
				end++
			}
		}
		words, line = append(words, line[:end]), line[end:]
	}
}

// assign takes $NAME=VALUE, and reports whether it is one.
func assign(define map[string]string, words []string) bool {
	name, value, ok := strings.Cut(strings.Join(words, " "), "=")
	if !ok {
		return false
	}
	define[strings.TrimSpace(name[1:])] = expand(strings.TrimSpace(value), define)
	return true
}

// maxWord bounds what a word can become by definitions, in bytes.
const maxWord = 1024

// expand puts definitions in place of $NAME and ${NAME}.
func expand(word string, define map[string]string) string {
	if !strings.Contains(word, "$") {
		return word
	}
	var out strings.Builder
	for {
		before, rest, ok := strings.Cut(word, "$")
		out.WriteString(before)
		if !ok || out.Len() > maxWord {
			return out.String()
		}
		name, after := rest, ""
		if inner, braced := strings.CutPrefix(rest, "{"); braced {
			name, after, _ = strings.Cut(inner, "}")
		} else {
			end := 0
			for end < len(rest) && (rest[end] == '_' || '0' <= rest[end] && rest[end] <= '9' || 'a' <= rest[end]|0x20 && rest[end]|0x20 <= 'z') {
				end++
			}
			name, after = rest[:end], rest[end:]
		}
		if value, known := define[name]; known {
			out.WriteString(value)
		} else {
			out.WriteString("$" + name)
		}
		word = after
	}
}
