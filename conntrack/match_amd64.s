//go:build !race

#include "textflag.h"

// MATCH leaves in AX which of the 16 entries at AX have the tag in X0 above the bits in
// X5.
#define MATCH \
	MOVOU X5, X1 \
	MOVOU X5, X2 \
	MOVOU X5, X3 \
	MOVOU X5, X4 \
	PANDN 0(AX), X1 \
	PANDN 16(AX), X2 \
	PANDN 32(AX), X3 \
	PANDN 48(AX), X4 \
	PCMPEQL X0, X1 \
	PCMPEQL X0, X2 \
	PCMPEQL X0, X3 \
	PCMPEQL X0, X4 \
	PACKSSLW X2, X1 \
	PACKSSLW X4, X3 \
	PACKSSWB X3, X1 \
	PMOVMSKB X1, AX

// func match(l *line, tag, ids uint32) uint32
TEXT ·match(SB), NOSPLIT, $0-20
	MOVQ l+0(FP), AX
	MOVL tag+8(FP), X0
	MOVL ids+12(FP), X5
	PSHUFL $0, X0, X0
	PSHUFL $0, X5, X5
	MATCH
	MOVL AX, ret+16(FP)
	RET

// func bringNear(q *queries, n int, ids uint32, spills []spill, records []Conn)
TEXT ·bringNear(SB), NOSPLIT, $0-72
	MOVQ q+0(FP), DI
	MOVQ n+8(FP), CX
	MOVL ids+16(FP), X5
	MOVL ids+16(FP), R8
	PSHUFL $0, X5, X5
	MOVQ spills_base+24(FP), R10
	MOVQ records_base+48(FP), R9
	XORQ SI, SI
lines:
	MOVQ (DI)(SI*8), AX
	PREFETCHT0 (AX)
	INCQ SI
	CMPQ SI, CX
	JLT lines
	XORQ SI, SI
records:
	MOVQ (DI)(SI*8), AX
	MOVQ AX, DX
	MOVL 512(DI)(SI*4), X0
	PSHUFL $0, X0, X0
	MATCH
	ORL $0x8000, AX
	BSFL AX, AX
	MOVL (DX)(AX*4), BX
	CMPL AX, $15
	JNE found
	MOVL (R10)(BX*8), BX
found:
	ANDL R8, BX
	MOVL BX, 768(DI)(SI*4)
	LEAQ (BX)(BX*2), BX
	SHLQ $5, BX
	PREFETCHT0 (R9)(BX*1)
	PREFETCHT0 64(R9)(BX*1)
	INCQ SI
	CMPQ SI, CX
	JLT records
	RET
