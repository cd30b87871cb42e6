// Package bench measures: the paper's experiment with a director between
// clients and real servers, each a network namespace of this machine, and what
// came of it beside the paper's own figures.
package bench
