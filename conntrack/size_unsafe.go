package conntrack

import "unsafe"

// Sizes in bytes, for [Table.Bytes]. Sizeof is a constant and touches no
// memory.
const (
	tableSize = int(unsafe.Sizeof(Table{}))
	shardSize = int(unsafe.Sizeof(Shard{}))
	chunkSize = int(unsafe.Sizeof(chunk{}))

	extChunkSize = int(unsafe.Sizeof([extChunkLen]Ext{}))

	dataChunkSize = int(unsafe.Sizeof([dataChunkLen]dataBlock{}))
	bucketSize    = int(unsafe.Sizeof(bucket{}))
	wordSize      = int(unsafe.Sizeof(uintptr(0)))
)
