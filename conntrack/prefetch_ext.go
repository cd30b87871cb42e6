//go:build !race

package conntrack

// prefetchExt brings near the extension of a record that was handed out before, if it
// has one. It reads the extension's number while another may be changing it, which a
// hint can bear: the word is the old one or the new one, and both were numbers of
// extensions.
func (s *Shard) prefetchExt(id uint32) {
	e, dir := s.seen(id).ext, s.exts.dir.Load()
	if e != 0 && dir != nil && int(e/extChunkLen) < len(*dir) {
		prefetchExtension(&(*dir)[e/extChunkLen][e%extChunkLen])
	}
}
