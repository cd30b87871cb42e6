// Package arena gives memory for large tables: reserved whole, so that nothing in it
// ever moves, and taken from the system page by page as it is first written. The
// garbage collector neither looks into it nor counts it.
package arena

// HugePage is the size of the pages that huge tables get, if the system has them.
const HugePage = 2 << 20
