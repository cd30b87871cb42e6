#include "textflag.h"

// func prefetch(c *Conn)
TEXT ·prefetch(SB), NOSPLIT, $0-8
	MOVD c+0(FP), R0
	PRFM (R0), PLDL1KEEP
	PRFM 64(R0), PLDL1KEEP
	RET

// func prefetchBucket(b *bucket)
TEXT ·prefetchBucket(SB), NOSPLIT, $0-8
	MOVD b+0(FP), R0
	PRFM (R0), PLDL1KEEP
	RET
