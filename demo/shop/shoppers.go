package shop

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// Visit lets so many shoppers, each a session of their own, look at articles,
// order, and look at their order. It returns how many requests they made.
func Visit(ctx context.Context, baseURL string, shoppers int) (requests int, err error) {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		errs []error
	)
	for i := range shoppers {
		wg.Go(func() {
			n, err := shopper{base: baseURL, number: i}.visit(ctx)
			mu.Lock()
			defer mu.Unlock()
			requests += n
			if err != nil {
				errs = append(errs, fmt.Errorf("shopper %d: %w", i, err))
			}
		})
	}
	wg.Wait()
	return requests, errors.Join(errs...)
}

type shopper struct {
	base   string
	number int
}

func (s shopper) visit(ctx context.Context) (requests int, err error) {
	transport := &http.Transport{} // a connection of their own
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	skus := []string{"tea", "pot", "cup", "tin"}
	do := func(method, path string, body, out any) error {
		requests++
		return s.do(ctx, client, method, path, body, out)
	}
	for visit := range 3 {
		sku := skus[(s.number+visit)%len(skus)]
		if err := do(http.MethodGet, "/products/"+sku, nil, nil); err != nil {
			return requests, err
		}
		var placed order
		req := orderRequest{
			SKU: sku, Quantity: int32(1 + (s.number+visit)%3),
			Email: fmt.Sprintf("shopper%d@example.com", s.number), Card: "4242 4242 4242 4242",
		}
		if err := do(http.MethodPost, "/orders", req, &placed); err != nil {
			return requests, err
		}
		if err := do(http.MethodGet, "/orders/"+placed.ID, nil, nil); err != nil {
			return requests, err
		}
	}
	return requests, nil
}

func (s shopper) do(ctx context.Context, c *http.Client, method, path string, body, out any) error {
	var payload io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		payload = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.base+path, payload)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", fmt.Sprintf("Bearer shopper-token-%04d", s.number))
	if o, ok := body.(orderRequest); ok {
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", fmt.Sprintf("%d-%s-%d", s.number, o.SKU, o.Quantity))
	}
	res, err := c.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return err
	}
	if res.StatusCode >= 400 {
		return fmt.Errorf("%s %s: %s: %s", method, path, res.Status, bytes.TrimSpace(answer))
	}
	if out != nil {
		return json.Unmarshal(answer, out)
	}
	return nil
}
