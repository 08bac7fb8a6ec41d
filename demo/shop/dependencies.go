package shop

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// charge is the body of POST /charges of the payments service.
type charge struct {
	OrderID  string `json:"orderId"`
	Amount   int64  `json:"amount"`
	Currency string `json:"currency"`
	Card     string `json:"card"`
}

type receipt struct {
	ID     string `json:"id"`
	Status string `json:"status"`
	Amount int64  `json:"amount"`
}

func paymentsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /charges", func(w http.ResponseWriter, r *http.Request) {
		var c charge
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&c); err != nil || c.Amount <= 0 {
			http.Error(w, `{"error":"the body is not a charge"}`, http.StatusBadRequest)
			return
		}
		answer(w, http.StatusCreated, receipt{ID: "ch_" + digest(c.OrderID), Status: "captured", Amount: c.Amount})
	})
	return mux
}

type inventory struct {
	UnimplementedInventoryServer
}

// article returns what is on the shelf; there are four articles.
func article(sku string) (*Article, error) {
	switch sku {
	case "tea":
		return &Article{Sku: sku, Name: "Darjeeling, 250 g", Price: 1290}, nil
	case "pot":
		return &Article{Sku: sku, Name: "Teapot, cast iron", Price: 4900}, nil
	case "cup":
		return &Article{Sku: sku, Name: "Cup, porcelain", Price: 850}, nil
	case "tin":
		return &Article{Sku: sku, Name: "Tin with lid", Price: 620}, nil
	}
	return nil, status.Errorf(codes.NotFound, "no article %q", sku)
}

func (inventory) Find(_ context.Context, r *FindRequest) (*Article, error) {
	return article(r.GetSku())
}

func (inventory) Reserve(_ context.Context, r *ReserveRequest) (*Reservation, error) {
	a, err := article(r.GetSku())
	if err != nil {
		return nil, err
	}
	return &Reservation{Id: "res_" + digest(r.GetOrderId()), Price: a.GetPrice(), Warehouse: "north"}, nil
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:5])
}
