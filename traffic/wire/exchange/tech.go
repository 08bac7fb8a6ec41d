package exchange

import (
	"strings"

	"github.com/speedscale/speedscale/traffic"
)

// Names of technologies, as the product's documentation shows them.
const (
	techHTTP = "HTTP"
	techGRPC = "gRPC"
)

// detect names the technologies of the pair: HTTP, then what the bodies are,
// then how the request proves who it is from. tech is what the bodies are, of
// the response first.
func (e *Exchange) detect() {
	p := &e.rec.pair
	list := append(e.rec.tech[:0], techHTTP)
	requestType, _ := traffic.HeaderValue(e.rec.req.Headers, "Content-Type")
	for _, contentType := range []string{e.rec.res.ContentType, requestType} {
		if t := techOf(contentType); t != "" && t != list[len(list)-1] {
			list = append(list, t)
		}
	}
	p.Tech = list[min(1, len(list)-1)]
	if credentials, ok := traffic.HeaderValue(e.rec.req.Headers, "Authorization"); ok {
		list = append(list, "HTTP Auth")
		scheme, token, _ := strings.Cut(credentials, " ")
		switch {
		case strings.EqualFold(scheme, "Bearer"):
			list = append(list, "Bearer")
			if strings.HasPrefix(token, "eyJ") && strings.Count(token, ".") == 2 {
				list = append(list, "JWT")
			}
		case strings.EqualFold(scheme, "Basic"):
			list = append(list, "Basic")
		}
	}
	p.DetectedTech = list
}

// techOf names what a content type is, empty where it says nothing worth a name.
func techOf(contentType string) string {
	t, _, _ := strings.Cut(contentType, ";")
	t = strings.TrimSpace(t)
	switch {
	case t == "":
		return ""
	case equalFold(t, "application/json"), suffixFold(t, "+json"):
		if prefixFold(t, "application/graphql") {
			return "GraphQL"
		}
		return "JSON"
	case isGRPC(t):
		return techGRPC
	case equalFold(t, "text/html"):
		return "HTML"
	case equalFold(t, "application/xml"), equalFold(t, "text/xml"), suffixFold(t, "+xml"):
		return "XML"
	case equalFold(t, "application/graphql"):
		return "GraphQL"
	case equalFold(t, "application/x-www-form-urlencoded"), equalFold(t, "multipart/form-data"):
		return "Form"
	case equalFold(t, "text/event-stream"):
		return "Server-Sent Events"
	case equalFold(t, "application/x-ndjson"), equalFold(t, "application/jsonl"):
		return "JSON Lines"
	case equalFold(t, "application/x-protobuf"), equalFold(t, "application/protobuf"):
		return "Protobuf"
	}
	return ""
}

// isGRPC says whether a content type is gRPC's: application/grpc, with or
// without a +suffix, but not application/grpc-web.
func isGRPC(contentType string) bool {
	const grpc = "application/grpc"
	if !prefixFold(contentType, grpc) {
		return false
	}
	rest := contentType[len(grpc):]
	return rest == "" || rest[0] == '+' || rest[0] == ';'
}

func equalFold(s, t string) bool { return len(s) == len(t) && strings.EqualFold(s, t) }

func prefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

func suffixFold(s, suffix string) bool {
	return len(s) >= len(suffix) && strings.EqualFold(s[len(s)-len(suffix):], suffix)
}
