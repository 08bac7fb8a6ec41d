package mask

// atDigit looks for a card number or a social security number that starts with
// the digit text[i].
func (p *patterns) atDigit(text []byte, i int) finding {
	if p[catSSN] && (i == 0 || text[i-1] != '-') && ssn(text[i:]) {
		return finding{i, i + len("ddd-dd-dddd"), catSSN}
	}
	if p[catCard] {
		if n := card(text[i:]); n > 0 {
			return finding{i, i + n, catCard}
		}
	}
	return finding{}
}

// ssn says whether s starts with a social security number of the USA, in the
// ranges that are given out (SSA, POMS RM 10201.035).
func ssn(s []byte) bool {
	if len(s) < 11 || s[3] != '-' || s[6] != '-' || len(s) > 11 && (isWord(s[11]) || s[11] == '-') {
		return false
	}
	for i, c := range s[:11] {
		if i != 3 && i != 6 && !isDigit(c) {
			return false
		}
	}
	area := string(s[:3])
	return area != "000" && area != "666" && s[0] != '9' && string(s[4:6]) != "00" && string(s[7:11]) != "0000"
}

// card returns the length of the card number that s starts with: 13 to 19
// digits of a known issuer (ISO/IEC 7812) that pass the Luhn check, plain or in
// groups of 3 or more that one kind of space or hyphen divides.
func card(s []byte) int {
	var digits [19]byte
	count, group, length := 0, 0, 0
	var divider byte
	for i := 0; i <= len(s); i++ {
		if i < len(s) && isDigit(s[i]) {
			if count == len(digits) {
				return length
			}
			digits[count] = s[i] - '0'
			count++
			group++
			continue
		}
		if group >= 3 && count >= 13 && (i == len(s) || !isWord(s[i])) && issuer(digits[:count]) && luhn(digits[:count]) {
			length = i
		}
		if i == len(s) || group < 3 || s[i] != ' ' && s[i] != '-' || divider != 0 && divider != s[i] {
			break
		}
		divider, group = s[i], 0
	}
	return length
}

func luhn(digits []byte) bool {
	sum := 0
	for i, d := range digits {
		n := int(d)
		if (len(digits)-i)%2 == 0 {
			if n *= 2; n > 9 {
				n -= 9
			}
		}
		sum += n
	}
	return sum%10 == 0
}

// issuer says whether a card number starts as one of a known network does, and
// is as long.
func issuer(d []byte) bool {
	n := len(d)
	four := int(d[0])*1000 + int(d[1])*100 + int(d[2])*10 + int(d[3])
	switch two := four / 100; {
	case d[0] == 4: // Visa
		return n == 13 || n == 16 || n == 19
	case two >= 51 && two <= 55, four >= 2221 && four <= 2720: // Mastercard
		return n == 16
	case two == 34, two == 37: // American Express
		return n == 15
	case two == 36, two == 38, two == 39, four >= 3000 && four <= 3059: // Diners Club
		return n >= 14
	case four >= 3528 && four <= 3589, four >= 2200 && four <= 2204: // JCB, Mir
		return n >= 16
	case two == 50, two >= 56 && two <= 69: // Maestro, Discover, UnionPay
		return true
	}
	return false
}

// ibanLengths are those of the SWIFT IBAN registry, by country.
var ibanLengths = map[[2]byte]int{
	{'A', 'D'}: 24, {'A', 'E'}: 23, {'A', 'L'}: 28, {'A', 'T'}: 20, {'A', 'Z'}: 28, {'B', 'A'}: 20, {'B', 'E'}: 16, {'B', 'G'}: 22,
	{'B', 'H'}: 22, {'B', 'I'}: 27, {'B', 'R'}: 29, {'B', 'Y'}: 28, {'C', 'H'}: 21, {'C', 'R'}: 22, {'C', 'Y'}: 28, {'C', 'Z'}: 24,
	{'D', 'E'}: 22, {'D', 'J'}: 27, {'D', 'K'}: 18, {'D', 'O'}: 28, {'E', 'E'}: 20, {'E', 'G'}: 29, {'E', 'S'}: 24, {'F', 'I'}: 18,
	{'F', 'K'}: 18, {'F', 'O'}: 18, {'F', 'R'}: 27, {'G', 'B'}: 22, {'G', 'E'}: 22, {'G', 'I'}: 23, {'G', 'L'}: 18, {'G', 'R'}: 27,
	{'G', 'T'}: 28, {'H', 'N'}: 28, {'H', 'R'}: 21, {'H', 'U'}: 28, {'I', 'E'}: 22, {'I', 'L'}: 23, {'I', 'Q'}: 23, {'I', 'S'}: 26,
	{'I', 'T'}: 27, {'J', 'O'}: 30, {'K', 'W'}: 30, {'K', 'Z'}: 20, {'L', 'B'}: 28, {'L', 'C'}: 32, {'L', 'I'}: 21, {'L', 'T'}: 20,
	{'L', 'U'}: 20, {'L', 'V'}: 21, {'L', 'Y'}: 25, {'M', 'C'}: 27, {'M', 'D'}: 24, {'M', 'E'}: 22, {'M', 'K'}: 19, {'M', 'N'}: 20,
	{'M', 'R'}: 27, {'M', 'T'}: 31, {'M', 'U'}: 30, {'N', 'I'}: 28, {'N', 'L'}: 18, {'N', 'O'}: 15, {'O', 'M'}: 23, {'P', 'K'}: 24,
	{'P', 'L'}: 28, {'P', 'S'}: 29, {'P', 'T'}: 25, {'Q', 'A'}: 29, {'R', 'O'}: 24, {'R', 'S'}: 22, {'R', 'U'}: 33, {'S', 'A'}: 24,
	{'S', 'C'}: 31, {'S', 'D'}: 18, {'S', 'E'}: 24, {'S', 'I'}: 19, {'S', 'K'}: 24, {'S', 'M'}: 27, {'S', 'O'}: 23, {'S', 'T'}: 25,
	{'S', 'V'}: 28, {'T', 'L'}: 23, {'T', 'N'}: 24, {'T', 'R'}: 26, {'U', 'A'}: 29, {'V', 'A'}: 22, {'V', 'G'}: 24, {'X', 'K'}: 20,
	{'Y', 'E'}: 30,
}

// iban returns the length of the account number (ISO 13616) that s starts with,
// plain or in groups of four, if its check digits are right (ISO 7064, mod 97-10).
func iban(s []byte) int {
	if len(s) < 15 || !isUpper(s[1]) || !isDigit(s[2]) || !isDigit(s[3]) {
		return 0
	}
	want, ok := ibanLengths[[2]byte(s)]
	if !ok {
		return 0
	}
	var chars [34]byte
	count, i := 0, 0
	for ; i < len(s) && count < want; i++ {
		switch c := s[i]; {
		case isDigit(c) || isUpper(c):
			chars[count] = c
			count++
		case c != ' ' || count%4 != 0 || s[i-1] == ' ':
			return 0
		}
	}
	if count < want || i < len(s) && isWord(s[i]) {
		return 0
	}
	rest := 0
	for k := range want {
		c := chars[(k+4)%want] // the first four come last
		if isDigit(c) {
			rest = (rest*10 + int(c-'0')) % 97
		} else {
			rest = (rest*100 + int(c-'A') + 10) % 97
		}
	}
	if rest != 1 {
		return 0
	}
	return i
}
