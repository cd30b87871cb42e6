//go:build !race

package conntrack

// prefetchExt brings near the extension of a record that was handed out before, if it
// has one. It reads the extension's number while another may be changing it, which a
// hint can bear: the word is the old one or the new one, and both were numbers of
// extensions.
func (t *Table) prefetchExt(id uint32) {
	if e := t.records[id].ext; e != 0 {
		prefetchExtension(&t.exts[e])
	}
}
