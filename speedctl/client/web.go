package client

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/speedscale/speedscale/cloud/client"
)

// Web serves the pages of the cloud's reports on a port of this machine, until ctx
// ends, and tells ready the address of the one with an id, "" for the list. Whoever is
// told the address needs no key, and nobody else on this machine, or a page in its
// browser, can guess it.
func (c *Client) Web(ctx context.Context, id string, ready func(url string)) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	prefix := "/" + rand.Text()
	s := &http.Server{Handler: http.StripPrefix(prefix, c.Pages()), ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	ready(client.PageURL("http://"+l.Addr().String()+prefix, id))
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
