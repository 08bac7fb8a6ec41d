package bus

import (
	"net/url"

	"github.com/speedscale/speedscale/agents/agent"
)

// ReadCloud reads how agents reach the cloud's bus. why says what needs the key.
//
//	SPEEDSCALE_API_KEY     opens the cloud's bus
//	SPEEDSCALE_APP_URL     the cloud: https://HOST, or a wss, tls, ws or nats URL of its bus
//	SPEEDSCALE_APP_CA      a PEM file that verifies the cloud; the system's roots without it
func ReadCloud(v *agent.Vars, why string) ConnectOptions {
	o := ConnectOptions{Token: v.String("SPEEDSCALE_API_KEY", "")}
	if o.Token == "" {
		v.Missing("SPEEDSCALE_API_KEY", why)
	}
	raw := v.String("SPEEDSCALE_APP_URL", "")
	if raw == "" {
		v.Missing("SPEEDSCALE_APP_URL", "it says where the cloud is, https://HOST")
		return o
	}
	if u, err := url.Parse(raw); err != nil || u.Host == "" {
		v.Fail("SPEEDSCALE_APP_URL", redacted(raw), wantURL)
	} else {
		switch u.Scheme {
		case "https":
			u.Scheme = "wss"
		case "http":
			u.Scheme = "ws"
		case "wss", "ws", "tls", "nats":
		default:
			v.Fail("SPEEDSCALE_APP_URL", redacted(raw), wantURL)
		}
		o.URLs = []string{u.String()}
	}
	o.RootCAs = v.Roots("SPEEDSCALE_APP_CA")
	return o
}

const wantURL = "want https://HOST, or a wss, tls, ws or nats URL"

func redacted(raw string) string {
	if u, err := url.Parse(raw); err == nil {
		return u.Redacted()
	}
	return "…"
}
