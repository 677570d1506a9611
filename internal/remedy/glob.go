// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

// glob reports whether the whole of s matches the pattern: * is any run of
// characters, the slash included, ? is one. There is no other syntax, so a
// pattern cannot be malformed, and none matches part of a name.
func glob(pattern, s string) bool {
	var p, i int
	star, mark := -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// globAny returns the first pattern that matches any of the names.
func globAny(patterns []string, names ...string) (string, bool) {
	for _, pattern := range patterns {
		for _, name := range names {
			if name != "" && glob(pattern, name) {
				return pattern, true
			}
		}
	}
	return "", false
}
