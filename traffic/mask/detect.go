package mask

import "bytes"

// category is a kind of secret that is known by its form.
type category uint8

const (
	catNone category = iota
	catAPIKey
	catAWSKey
	catCard
	catEmail
	catGitHub
	catIBAN
	catJWT
	catPhone
	catPrivateKey
	catSSN
	catSlack
	catStripe
	catCount
)

// categories are the names in masked values and in Config.Patterns.
var categories = [catCount]string{
	catAPIKey:     "API_KEY",
	catAWSKey:     "AWS_ACCESS_KEY",
	catCard:       "CREDIT_CARD",
	catEmail:      "EMAIL",
	catGitHub:     "GITHUB_TOKEN",
	catIBAN:       "IBAN",
	catJWT:        "JWT",
	catPhone:      "E164_PHONE_NUMBER",
	catPrivateKey: "PRIVATE_KEY",
	catSSN:        "SSN",
	catSlack:      "SLACK_TOKEN",
	catStripe:     "STRIPE_KEY",
}

// Kinds of byte, for the one pass over a text.
const (
	byteOther   uint8 = iota
	byteWord          // a part of a word
	byteStart         // one that a pattern can start with, at the start of a word
	byteSpecial       // one that a secret can stand around
)

var byteKinds = func() (t [256]uint8) {
	for c := range t {
		switch {
		case isDigit(byte(c)) || isUpper(byte(c)) || c == 'e' || prefixes[c] != nil:
			t[c] = byteStart
		case isWord(byte(c)):
			t[c] = byteWord
		}
	}
	for _, c := range []byte("@%+-=:") {
		t[c] = byteSpecial
	}
	return t
}()

// endOfWord returns the end of the word that text[i] is in.
func endOfWord(text []byte, i int) int {
	for i < len(text) && (byteKinds[text[i]] == byteWord || byteKinds[text[i]] == byteStart) {
		i++
	}
	return i
}

func isWord(c byte) bool { return isDigit(c) || isLetter(c) || c == '_' || c >= 0x80 }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

func isUpper(c byte) bool { return 'A' <= c && c <= 'Z' }

// finding is a stretch of a text that is to be masked.
type finding struct {
	start, end int
	cat        category
}

// patterns says which categories are looked for.
type patterns [catCount]bool

// atWord looks for a pattern that starts with the word text[i:end].
func (p *patterns) atWord(text []byte, i, end int) (finding, bool) {
	var f finding
	switch c := text[i]; {
	case isDigit(c):
		f = p.atDigit(text, i)
	case c == 'e' && p[catJWT]:
		if n := jwt(text[i:]); n > 0 {
			return finding{i, i + n, catJWT}, true
		}
	case isUpper(c) && p[catIBAN] && end-i >= 4:
		if n := iban(text[i:]); n > 0 {
			return finding{i, i + n, catIBAN}, true
		}
	}
	if f.end == 0 {
		f = p.prefixed(text, i)
	}
	return f, f.end > 0
}

// atSpecial looks for a pattern around a special byte. It may start before i,
// but not before from.
func (p *patterns) atSpecial(text []byte, i, from int) (finding, bool) {
	switch text[i] {
	case '@':
		if start, end := email(text, i, 1, from); end > 0 && p[catEmail] {
			return finding{start, end, catEmail}, true
		}
	case '%':
		if p[catEmail] && bytes.HasPrefix(text[i:], []byte("%40")) {
			if start, end := email(text, i, 3, from); end > 0 {
				return finding{start, end, catEmail}, true
			}
		}
	case '+':
		if p[catPhone] && (i == 0 || !isWord(text[i-1]) && text[i-1] != '+') {
			if n := phone(text[i+1:]); n > 0 {
				return finding{i, i + 1 + n, catPhone}, true
			}
		}
	case '-':
		if p[catPrivateKey] && i+1 < len(text) && text[i+1] == '-' {
			if n := privateKey(text[i:]); n > 0 {
				return finding{i, i + n, catPrivateKey}, true
			}
		}
	}
	return finding{}, false
}

// maxLocal bounds a local part: 64 bytes (RFC 5321, section 4.5.3.1.1), each of
// which may be percent-encoded.
const maxLocal = 3 * 64

// email returns the address around the @ at text[i], which is n bytes long
// (RFC 5321, section 4.1.2, without quoted local parts).
func email(text []byte, i, n, from int) (start, end int) {
	start = i
	for start > from && i-start < maxLocal && isLocal(text[start-1]) {
		start--
	}
	for start < i && !isWord(text[start]) {
		start++
	}
	label, dots, end := i+n, 0, i+n
	for ; end < len(text); end++ {
		c := text[end]
		if c == '.' && end > label && end+1 < len(text) && isWord(text[end+1]) {
			dots++
			label = end + 1
		} else if c != '-' && (!isWord(c) || c == '_') {
			break
		}
	}
	for end > label && text[end-1] == '-' {
		end--
	}
	if start == i || dots == 0 || end-label < 2 || isDigit(text[label]) {
		return 0, 0
	}
	return start, end
}

func isLocal(c byte) bool {
	return isWord(c) || c == '.' || c == '+' || c == '-' || c == '%' || c == '\'' || c == '~'
}

// phone returns the length of the number after the + of E.164: 8 to 15 digits,
// the first not 0, in groups that a space, dot, hyphen or parentheses divide.
func phone(s []byte) int {
	count, end := 0, 0
	for i := 0; i < len(s) && count <= 15; i++ {
		switch c := s[i]; {
		case isDigit(c):
			if count == 0 && c == '0' {
				return 0
			}
			count++
			end = i + 1
		case count > 0 && i-end < 2 && (c == ' ' || c == '-' || c == '.' || c == '(' || c == ')'):
		default:
			i = len(s)
		}
	}
	if count < 8 || count > 15 || end < len(s) && isWord(s[end]) {
		return 0
	}
	return end
}

// privateKey returns the length of a PEM block (RFC 7468) or a PGP one
// (RFC 9580) that holds a private key; one without an end goes to the end.
func privateKey(s []byte) int {
	const begin, dashes = "-----BEGIN ", "-----"
	if !bytes.HasPrefix(s, []byte(begin)) {
		return 0
	}
	label := s[len(begin):min(len(s), len(begin)+64)]
	if n := bytes.Index(label, []byte(dashes)); n < 0 || !bytes.Contains(label[:n], []byte("PRIVATE KEY")) {
		return 0
	}
	end := bytes.Index(s, []byte("-----END "))
	if end < 0 {
		return len(s)
	}
	end += len("-----END ")
	if n := bytes.Index(s[end:], []byte(dashes)); n >= 0 {
		return end + n + len(dashes)
	}
	return len(s)
}

// maxJWTHeader bounds the first part of a token, so that a long text of what
// looks like starts of tokens is read in time.
const maxJWTHeader = 2048

// jwt returns the length of a JSON Web Token in compact form (RFC 7519): a
// header, which as base64url of {" starts with eyJ, and two parts or more.
func jwt(s []byte) int {
	if !bytes.HasPrefix(s, []byte("eyJ")) {
		return 0
	}
	header := bytes.IndexByte(s[:min(len(s), maxJWTHeader)], '.')
	if header < 10 {
		return 0
	}
	dots, end := 0, 0
	for ; end < len(s); end++ {
		c := s[end]
		if c == '.' {
			dots++
		} else if c != '-' && c != '_' && !isDigit(c) && !isLetter(c) {
			break
		}
	}
	if dots < 2 {
		return 0
	}
	for dots > 2 && s[end-1] == '.' { // the end of a sentence
		end--
		dots--
	}
	return end
}

// prefix is how keys of a vendor start, and how many bytes follow at least.
type prefix struct {
	text string
	tail int
	cat  category
}

var prefixes = [256][]prefix{
	'A': {{"AKIA", 16, catAWSKey}, {"ASIA", 16, catAWSKey}, {"ABIA", 16, catAWSKey}, {"ACCA", 16, catAWSKey}, {"AIza", 35, catAPIKey}},
	'S': {{"SG.", 40, catAPIKey}},
	'd': {{"dop_v1_", 64, catAPIKey}},
	'g': {{"ghp_", 36, catGitHub}, {"gho_", 36, catGitHub}, {"ghu_", 36, catGitHub}, {"ghs_", 36, catGitHub}, {"ghr_", 36, catGitHub},
		{"github_pat_", 22, catGitHub}, {"glpat-", 20, catAPIKey}},
	'h': {{"hf_", 30, catAPIKey}},
	'n': {{"npm_", 36, catAPIKey}},
	'p': {{"pypi-", 50, catAPIKey}},
	'r': {{"rk_live_", 16, catStripe}, {"rk_test_", 16, catStripe}},
	's': {{"sk_live_", 16, catStripe}, {"sk_test_", 16, catStripe}, {"sk-", 32, catAPIKey}},
	'w': {{"whsec_", 16, catStripe}},
	'x': {{"xoxb-", 10, catSlack}, {"xoxp-", 10, catSlack}, {"xoxa-", 10, catSlack}, {"xoxr-", 10, catSlack}, {"xoxs-", 10, catSlack},
		{"xapp-", 10, catSlack}},
	'y': {{"ya29.", 20, catAPIKey}},
}

// prefixed looks for a key that its first bytes give away.
func (p *patterns) prefixed(text []byte, i int) finding {
	for _, pre := range prefixes[text[i]] {
		if !p[pre.cat] || !bytes.HasPrefix(text[i:], []byte(pre.text)) {
			continue
		}
		end := i + len(pre.text)
		for end < len(text) && (isDigit(text[end]) || isLetter(text[end]) || text[end] == '_' || text[end] == '-' ||
			text[end] == '.' && pre.cat == catAPIKey) {
			end++
		}
		for text[end-1] == '.' {
			end--
		}
		if end-i-len(pre.text) >= pre.tail {
			return finding{i, end, pre.cat}
		}
	}
	return finding{}
}

// categoryOf returns the category of a whole value.
func (p *patterns) categoryOf(value []byte) category {
	if len(value) == 0 {
		return catNone
	}
	var f finding
	switch byteKinds[value[0]] {
	case byteStart:
		f, _ = p.atWord(value, 0, endOfWord(value, 0))
	case byteSpecial:
		f, _ = p.atSpecial(value, 0, 0)
	}
	if f.end != len(value) {
		if i := bytes.IndexByte(value, '@'); i > 0 {
			f, _ = p.atSpecial(value, i, 0)
		}
	}
	if f.start == 0 && f.end == len(value) {
		return f.cat
	}
	return catNone
}
