//go:build !race

package control

const racing = false
