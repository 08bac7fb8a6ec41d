package wire_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/wire/body"
	"github.com/speedscale/speedscale/traffic/wire/grpcmsg"
)

// calls is a gRPC server with one method of each kind.
type calls struct {
	pb.UnimplementedTestServiceServer
}

func (calls) UnaryCall(ctx context.Context, in *pb.SimpleRequest) (*pb.SimpleResponse, error) {
	grpc.SetTrailer(ctx, metadata.Pairs("x-end", "yes"))
	if in.ResponseSize < 0 {
		return nil, status.Error(codes.InvalidArgument, "negative size, 100 %")
	}
	return &pb.SimpleResponse{Username: "user", Payload: in.Payload}, nil
}

func (calls) StreamingOutputCall(in *pb.StreamingOutputCallRequest, out pb.TestService_StreamingOutputCallServer) error {
	for _, p := range in.ResponseParameters {
		if err := out.Send(&pb.StreamingOutputCallResponse{Payload: &pb.Payload{Body: make([]byte, p.Size)}}); err != nil {
			return err
		}
	}
	return nil
}

func (calls) FullDuplexCall(s pb.TestService_FullDuplexCallServer) error {
	for {
		in, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.Send(&pb.StreamingOutputCallResponse{Payload: in.Payload}); err != nil {
			return err
		}
	}
}

func serveGRPC(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	pb.RegisterTestServiceServer(s, calls{})
	go s.Serve(l)
	t.Cleanup(s.Stop)
	return l.Addr().String()
}

func TestGRPC(t *testing.T) {
	tp := newTap(t, serveGRPC(t))
	conn, err := grpc.NewClient("passthrough:///"+tp.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	client := pb.NewTestServiceClient(conn)
	const each = 20
	var wg sync.WaitGroup
	run := func(call func(i int) error) {
		for i := range each {
			wg.Go(func() {
				if err := call(i); err != nil {
					t.Error(err)
				}
			})
		}
	}
	payload := func(i int) *pb.Payload {
		return &pb.Payload{Body: []byte(strings.Repeat(fmt.Sprint("payload ", i), 1+i*100))}
	}
	run(func(i int) error {
		var opts []grpc.CallOption
		if i%2 == 1 {
			opts = append(opts, grpc.UseCompressor(gzip.Name))
		}
		_, err := client.UnaryCall(t.Context(), &pb.SimpleRequest{Payload: payload(i), FillUsername: true}, opts...)
		return err
	})
	run(func(int) error {
		if _, err := client.UnaryCall(t.Context(), &pb.SimpleRequest{ResponseSize: -1}); status.Code(err) != codes.InvalidArgument {
			return fmt.Errorf("got %w, want InvalidArgument", err)
		}
		return nil
	})
	run(func(int) error {
		s, err := client.StreamingOutputCall(t.Context(), &pb.StreamingOutputCallRequest{ResponseParameters: []*pb.ResponseParameters{{Size: 10}, {Size: 70_000}, {Size: 0}}})
		for err == nil {
			_, err = s.Recv()
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	})
	run(func(i int) error {
		s, err := client.FullDuplexCall(t.Context())
		for range 5 {
			if err == nil {
				err = s.Send(&pb.StreamingOutputCallRequest{Payload: payload(i)})
			}
			if err == nil {
				_, err = s.Recv()
			}
		}
		if err != nil {
			return err
		}
		s.CloseSend()
		if _, err := s.Recv(); !errors.Is(err, io.EOF) {
			return fmt.Errorf("got %w, want the end", err)
		}
		return nil
	})
	run(func(int) error {
		if _, err := client.EmptyCall(t.Context(), &pb.Empty{}); status.Code(err) != codes.Unimplemented {
			return fmt.Errorf("got %w, want Unimplemented", err)
		}
		return nil
	})
	wg.Wait()
	conn.Close()
	pairs := tp.pairs(t)
	if len(pairs) != 5*each {
		t.Fatalf("%d pairs of %d, opaque %v", len(pairs), 5*each, tp.rec.Closed)
	}
	kinds := map[string]int{}
	for _, p := range pairs {
		kinds[describeCall(t, p)]++
	}
	want := map[string]int{
		"/grpc.testing.TestService/UnaryCall 1→1 OK":           each,
		"/grpc.testing.TestService/UnaryCall 1→0 3":            each,
		"/grpc.testing.TestService/StreamingOutputCall 1→3 OK": each,
		"/grpc.testing.TestService/FullDuplexCall 5→5 OK":      each,
		"/grpc.testing.TestService/EmptyCall 1→0 12":           each,
	}
	for k, n := range want {
		if kinds[k] != n {
			t.Errorf("%q: %d calls, want %d (all: %v)", k, kinds[k], n, kinds)
		}
	}
}

// describeCall checks what all calls have, and says which one it is.
func describeCall(t *testing.T, p *traffic.RRPair) string {
	t.Helper()
	if p.L7Protocol != "grpc" || p.Tech != "gRPC" || p.Command != p.Location || p.Http.Res.StatusCode != 200 {
		t.Errorf("protocol %q, tech %q, command %q, location %q, HTTP status %d", p.L7Protocol, p.Tech, p.Command, p.Location, p.Http.Res.StatusCode)
	}
	state := p.Status
	if state == "0" {
		state = "OK"
	}
	// An error without a message has its trailers in place of headers.
	ends := slices.Concat(p.Http.Res.Headers, p.Http.Res.Trailers)
	if v, _ := traffic.HeaderValue(ends, "x-end"); strings.HasSuffix(p.Command, "UnaryCall") && v != "yes" {
		t.Errorf("%s: trailers %v", p.Command, ends)
	}
	return fmt.Sprintf("%s %d→%d %s", p.Location, messages(t, p.Http.Req.Headers, p.Http.Req.Body), messages(t, p.Http.Res.Headers, p.Http.Res.Body), state)
}

// messages reads each message of a body and returns how many there are.
func messages(t *testing.T, headers []*traffic.Header, content []byte) int {
	t.Helper()
	list, err := grpcmsg.Split(content)
	if err != nil {
		t.Error(err)
	}
	encoding, _ := traffic.HeaderValue(headers, "grpc-encoding")
	for _, m := range list {
		plain := m.Data
		if m.Compressed {
			if plain, err = body.Decode(encoding, m.Data, 1<<20); err != nil {
				t.Errorf("grpc-encoding %q: %v", encoding, err)
			}
		}
		if _, err := grpcmsg.Decode(plain); err != nil {
			t.Errorf("message %q: %v", plain, err)
		}
	}
	return len(list)
}
