package conntrack

import (
	"unsafe"

	"vsnat/conntrack/wheel"
)

// Sizes in bytes, for [Table.Bytes]. Sizeof is a constant and touches no
// memory.
const (
	tableSize = int(unsafe.Sizeof(Table{}))
	shardSize = int(unsafe.Sizeof(Shard{}))
	lineSize  = int(unsafe.Sizeof(line{}))
	connSize  = int(unsafe.Sizeof(Conn{}))
	nodeSize  = int(unsafe.Sizeof(wheel.Node{}))
	extSize   = int(unsafe.Sizeof(Ext{}))
	restSize  = int(unsafe.Sizeof(rest{}))
	spillSize = int(unsafe.Sizeof(spill{}))

	dataChunkSize = int(unsafe.Sizeof([dataChunkLen]dataBlock{}))
	bucketSize    = int(unsafe.Sizeof(bucket{}))
	wordSize      = int(unsafe.Sizeof(uintptr(0)))

	pageSize = 4096 // or a multiple
)
