// Package bench measures. [Paper] does the paper's experiment with a director
// between clients and real servers, each a network namespace of this machine,
// and prints what came of it beside the paper's own figures. [Path] has vsnat
// and its peers (package peer) carry the same loads in turn. [Engine] measures
// the engine in memory.
//
// Loads and the servers they are for are processes of their own, see
// [PartSpec]. No winner is named inside the noise, see [Difference].
package bench
