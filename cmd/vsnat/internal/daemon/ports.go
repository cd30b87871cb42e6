package daemon

import (
	"fmt"
	"os"
)

// localPorts returns the first and the last of the ports that the host itself
// sends from, as the file has them; both 0 if it cannot be read.
func localPorts(file string) (ports [2]uint16) {
	text, err := os.ReadFile(file)
	if err != nil {
		return ports
	}
	if _, err := fmt.Sscan(string(text), &ports[0], &ports[1]); err != nil || ports[0] > ports[1] {
		return [2]uint16{}
	}
	return ports
}
