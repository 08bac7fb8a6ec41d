package generator_test

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/speedscale/speedscale/traffic"
)

// strictShop is an app that makes all of its ids, cookies, tokens and signing keys
// anew at each start, and refuses those of any other.
type strictShop struct {
	key     []byte
	mu      sync.Mutex
	orders  map[string]string // id to reference
	cookies map[string]bool
	csrf    map[string]bool
	next    int
	// sick makes a login fail.
	sick bool
}

func random(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return hex.EncodeToString(b)
}

func startShop(t testing.TB, firstOrder int) (*strictShop, string) {
	s := &strictShop{key: []byte(random(16)), orders: map[string]string{}, cookies: map[string]bool{}, csrf: map[string]bool{}, next: firstOrder}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", s.login)
	mux.HandleFunc("GET /me", s.token(func(w http.ResponseWriter, r *http.Request) { answer(w, 200, map[string]any{"name": "ada"}) }))
	mux.HandleFunc("POST /orders", s.token(s.order))
	mux.HandleFunc("GET /orders", s.token(s.find))
	mux.HandleFunc("GET /orders/{id}", s.token(s.show))
	mux.HandleFunc("GET /form", s.form)
	mux.HandleFunc("POST /form", s.submit)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return s, strings.TrimPrefix(server.URL, "http://")
}

func answer(w http.ResponseWriter, status int, v any) {
	body, _ := json.Marshal(v)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body)
}

func (s *strictShop) sign(text string) string {
	mac := hmac.New(sha256.New, s.key)
	mac.Write([]byte(text))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// jwt is good for a minute.
func (s *strictShop) jwt() string {
	enc := base64.RawURLEncoding.EncodeToString
	text := enc([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + enc(fmt.Appendf(nil, `{"sub":"ada","exp":%d,"jti":"%s"}`, time.Now().Add(time.Minute).Unix(), random(4)))
	return text + "." + s.sign(text)
}

func (s *strictShop) token(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		parts := strings.Split(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), ".")
		if len(parts) != 3 || s.sign(parts[0]+"."+parts[1]) != parts[2] {
			answer(w, 401, map[string]any{"error": "token"})
			return
		}
		next(w, r)
	}
}

func (s *strictShop) login(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sick {
		answer(w, 503, map[string]any{"error": "later"})
		return
	}
	sid := random(12)
	s.cookies[sid] = true
	http.SetCookie(w, &http.Cookie{Name: "sid", Value: sid, HttpOnly: true})
	answer(w, 200, map[string]any{"access_token": s.jwt(), "expires": 60})
}

func (s *strictShop) order(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
	id, ref := strconv.Itoa(s.next), "ref-"+random(6)
	s.orders[id] = ref
	w.Header().Set("Location", "http://"+r.Host+"/orders/"+id)
	answer(w, 201, map[string]any{"id": s.next, "ref": ref, "state": "new"})
}

func (s *strictShop) show(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := r.PathValue("id")
	ref, ok := s.orders[id]
	if !ok {
		answer(w, 404, map[string]any{"error": "no order"})
		return
	}
	n, _ := strconv.Atoi(id)
	answer(w, 200, map[string]any{"id": n, "ref": ref, "self": "/orders/by-ref/" + ref})
}

func (s *strictShop) find(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ref := range s.orders {
		if ref == r.URL.Query().Get("ref") {
			answer(w, 200, map[string]any{"found": true})
			return
		}
	}
	answer(w, 200, map[string]any{"found": false})
}

func (s *strictShop) form(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, err := r.Cookie("sid"); err != nil || !s.cookies[c.Value] {
		answer(w, 403, map[string]any{"error": "cookie"})
		return
	}
	csrf := random(16)
	s.csrf[csrf] = true
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprintf(w, "<html><form method=post>\n<input name=csrf type=hidden value=%q>\n</form></html>\n", csrf)
}

func (s *strictShop) submit(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.csrf[r.PostFormValue("csrf")] {
		answer(w, 403, map[string]any{"error": "csrf"})
		return
	}
	answer(w, 200, map[string]any{"done": true})
}

// visit records what a client does in the shop, which reads each response.
func visit(t testing.TB, addr string) []*traffic.RRPair {
	var list []*traffic.RRPair
	send := func(method, uri, body string, kv ...string) *traffic.RRPair {
		p := record(t, addr, method, uri, body, kv...)
		p.Duration = int64(time.Microsecond)
		if n := len(list); n > 0 {
			p.Ts = list[n-1].Ts + int64(10*time.Millisecond)
		}
		list = append(list, p)
		return p
	}
	field := func(p *traffic.RRPair, name string) string {
		var doc map[string]any
		if err := json.Unmarshal(p.Http.Res.Body, &doc); err != nil || doc[name] == nil {
			t.Fatalf("no %s in %s (%v)", name, p.Http.Res.Body, err)
		}
		return fmt.Sprint(doc[name])
	}
	login := send("POST", "/login", `{"user":"ada","password":"secret"}`, "Content-Type", "application/json")
	token := "Bearer " + field(login, "access_token")
	cookie, _ := traffic.HeaderValue(login.Http.Res.Headers, "Set-Cookie")
	cookie, _, _ = strings.Cut(cookie, ";")
	send("GET", "/me", "", "Authorization", token)
	order := send("POST", "/orders", `{"sku":"a-1"}`, "Authorization", token, "Content-Type", "application/json")
	send("GET", "/orders/"+field(order, "id"), "", "Authorization", token)
	send("GET", "/orders?ref="+field(order, "ref"), "", "Authorization", token)
	form := send("GET", "/form", "", "Cookie", "theme=dark; "+cookie)
	_, csrf, _ := strings.Cut(string(form.Http.Res.Body), `value="`)
	csrf, _, _ = strings.Cut(csrf, `"`)
	send("POST", "/form", "text=hi&csrf="+csrf, "Cookie", "theme=dark; "+cookie, "Content-Type", "application/x-www-form-urlencoded")
	return list
}
