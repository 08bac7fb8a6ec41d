package shop

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
)

// taxPercent is on top of the price of the articles.
const taxPercent = 20

// orderRequest is the body of POST /orders.
type orderRequest struct {
	SKU      string `json:"sku"`
	Quantity int32  `json:"quantity"`
	Email    string `json:"email"`
	Card     string `json:"card"`
}

// order is what the service answers. Amounts are in cents.
type order struct {
	ID          string `json:"id"`
	SKU         string `json:"sku"`
	Quantity    int32  `json:"quantity"`
	Subtotal    int64  `json:"subtotal"`
	Tax         int64  `json:"tax"`
	Total       int64  `json:"total"`
	Currency    string `json:"currency"`
	Payment     string `json:"payment"`
	Reservation string `json:"reservation"`
	Email       string `json:"email"`
	CreatedAt   string `json:"createdAt"`
}

type orders struct {
	version   string
	conn      *grpc.ClientConn
	inventory InventoryClient
	web       *http.Client

	mu   sync.Mutex
	byID map[string]order
}

func newOrders(version string) (*orders, error) {
	conn, err := grpc.NewClient("dns:///"+net.JoinHostPort(InventoryHost, DependencyTLS),
		grpc.WithTransportCredentials(credentials.NewClientTLSFromCert(nil, "")))
	if err != nil {
		return nil, err
	}
	return &orders{
		version: version, conn: conn, inventory: NewInventoryClient(conn),
		web:  &http.Client{Timeout: 10 * time.Second},
		byID: map[string]order{},
	}, nil
}

func (o *orders) close() {
	o.conn.Close()
	o.web.CloseIdleConnections()
}

func (o *orders) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /products/{sku}", o.product)
	mux.HandleFunc("POST /orders", o.place)
	mux.HandleFunc("GET /orders/{id}", o.show)
	return mux
}

func (o *orders) product(w http.ResponseWriter, r *http.Request) {
	a, err := o.inventory.Find(r.Context(), &FindRequest{Sku: r.PathValue("sku")})
	if err != nil {
		fail(w, err)
		return
	}
	answer(w, http.StatusOK, map[string]any{"sku": a.GetSku(), "name": a.GetName(), "price": a.GetPrice(), "currency": "EUR"})
}

func (o *orders) place(w http.ResponseWriter, r *http.Request) {
	var req orderRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&req); err != nil || req.Quantity < 1 {
		http.Error(w, `{"error":"the body is not an order"}`, http.StatusBadRequest)
		return
	}
	// The id follows from the request, so that asking twice orders once.
	sum := sha256.Sum256([]byte(r.Header.Get("Idempotency-Key")))
	id := "ord_" + hex.EncodeToString(sum[:6])
	reserved, err := o.inventory.Reserve(r.Context(), &ReserveRequest{Sku: req.SKU, Quantity: req.Quantity, OrderId: id})
	if err != nil {
		fail(w, err)
		return
	}
	subtotal := reserved.GetPrice() * int64(req.Quantity)
	tax := subtotal * taxPercent / 100
	total := subtotal + tax
	if o.version == V2 && req.Quantity > 1 {
		total = subtotal // The planted regression: no tax on more than one article.
	}
	// What is charged stays as it was, so that the dependency sees no change.
	payment, err := o.charge(r.Context(), charge{OrderID: id, Amount: subtotal + tax, Currency: "EUR", Card: req.Card})
	if err != nil {
		fail(w, err)
		return
	}
	placed := order{
		ID: id, SKU: req.SKU, Quantity: req.Quantity, Subtotal: subtotal, Tax: tax, Total: total, Currency: "EUR",
		Payment: payment, Reservation: reserved.GetId(), Email: req.Email, CreatedAt: time.Now().UTC().Format(time.RFC3339Nano),
	}
	o.mu.Lock()
	o.byID[id] = placed
	o.mu.Unlock()
	answer(w, http.StatusCreated, placed)
}

func (o *orders) show(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	placed, ok := o.byID[r.PathValue("id")]
	o.mu.Unlock()
	if !ok {
		http.Error(w, `{"error":"no such order"}`, http.StatusNotFound)
		return
	}
	answer(w, http.StatusOK, placed)
}

func (o *orders) charge(ctx context.Context, c charge) (string, error) {
	body, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+PaymentsHost+"/charges", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer demo-payments-key")
	res, err := o.web.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	var out receipt
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<16)).Decode(&out); err != nil {
		return "", fmt.Errorf("payments answered %s: %w", res.Status, err)
	}
	if res.StatusCode != http.StatusCreated {
		return "", fmt.Errorf("payments answered %s", res.Status)
	}
	return out.ID, nil
}

func answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(v)
}

func fail(w http.ResponseWriter, err error) {
	code := http.StatusBadGateway
	if status.Code(err) == codes.NotFound {
		code = http.StatusNotFound
	}
	answer(w, code, map[string]string{"error": err.Error()})
}
