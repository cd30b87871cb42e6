// Package plan tells what has to change for a director to be as its
// configuration file says, and what others have changed meanwhile.
//
// It compares three things: what the file said when it was last applied, what
// the file says now, and what the director has. Where the file says something
// else than before, the director is to follow. Where only the director is
// another, someone has changed it by hand: that is drift, which is shown, and
// kept unless the file wants it undone. The place where file and hand are
// compared is a virtual service's own options, one real server, one setting, one
// timeout, or the list of mark rules.
package plan
