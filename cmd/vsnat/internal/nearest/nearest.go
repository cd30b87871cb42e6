// Package nearest finds the name that was probably meant by one that is not
// known.
package nearest

// Of returns that of the names which has the fewest letters to change to make it
// of name, "" when none is near: when more than half of the letters are wrong.
// Of several that are as near it is the first.
func Of(name string, names []string) string {
	nearest, least := "", len(name)/2+1
	for _, n := range names {
		if d := distance(name, n); d < least {
			nearest, least = n, d
		}
	}
	return nearest
}

// distance returns how many letters must be put in, taken out or changed to make
// b of a (Levenshtein), a letter being a byte.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := corner
			if a[i] != b[j] {
				change++
			}
			corner = row[j+1]
			row[j+1] = min(change, corner+1, row[j]+1)
		}
	}
	return row[len(b)]
}
