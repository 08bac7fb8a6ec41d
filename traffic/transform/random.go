package transform

import (
	"fmt"
	"math/rand/v2"
	"regexp/syntax"
	"strings"
)

// Bounds of a random text.
const (
	maxRepeat = 1000
	manyMore  = 8 // what * and + repeat at most beyond what they must
)

// parsePattern reads a regular expression (RE2) that random texts match.
func parsePattern(pattern string) (*syntax.Regexp, error) {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	if length := longest(re); length > maxFile {
		return nil, fmt.Errorf("pattern %q: its texts are longer than %d bytes", pattern, maxFile)
	}
	return re, nil
}

// longest is about how long a text can be.
func longest(re *syntax.Regexp) int {
	sum := 0
	for _, sub := range re.Sub {
		if n := longest(sub); re.Op == syntax.OpAlternate {
			sum = max(sum, n)
		} else {
			sum += n
		}
	}
	switch re.Op {
	case syntax.OpLiteral:
		return len(re.Rune)
	case syntax.OpCharClass, syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return 1
	case syntax.OpStar, syntax.OpPlus, syntax.OpRepeat:
		_, most := repeats(re)
		sum *= most
	}
	return min(sum, maxFile+1)
}

func repeats(re *syntax.Regexp) (least, most int) {
	switch re.Op {
	case syntax.OpStar:
		return 0, manyMore
	case syntax.OpPlus:
		return 1, 1 + manyMore
	case syntax.OpQuest:
		return 0, 1
	}
	if most = re.Max; most < 0 {
		most = re.Min + manyMore
	}
	return min(re.Min, maxRepeat), min(most, maxRepeat)
}

func generate(re *syntax.Regexp) string {
	var b strings.Builder
	appendRandom(&b, re)
	return b.String()
}

func appendRandom(b *strings.Builder, re *syntax.Regexp) {
	switch re.Op {
	case syntax.OpLiteral:
		b.WriteString(string(re.Rune))
	case syntax.OpCharClass:
		b.WriteRune(oneRune(re.Rune))
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		b.WriteRune(oneRune([]rune{'!', '~'}))
	case syntax.OpAlternate:
		appendRandom(b, re.Sub[rand.IntN(len(re.Sub))])
	case syntax.OpStar, syntax.OpPlus, syntax.OpQuest, syntax.OpRepeat:
		least, most := repeats(re)
		for range least + rand.IntN(most-least+1) {
			appendRandom(b, re.Sub[0])
		}
	default:
		for _, sub := range re.Sub {
			appendRandom(b, sub)
		}
	}
}

// oneRune is of a class, which is pairs of bounds. Printable ASCII is preferred:
// [^,] means any such character, and not one of all that Unicode has.
func oneRune(class []rune) rune {
	for _, within := range [][2]rune{{'!', '~'}, {0, 0x10ffff}} {
		count := 0
		for i := 0; i+1 < len(class); i += 2 {
			count += max(0, int(min(class[i+1], within[1])-max(class[i], within[0]))+1)
		}
		if count == 0 {
			continue
		}
		n := rune(rand.IntN(count))
		for i := 0; i+1 < len(class); i += 2 {
			from := max(class[i], within[0])
			size := max(0, min(class[i+1], within[1])-from+1)
			if n < size {
				return from + n
			}
			n -= size
		}
	}
	return '?'
}
