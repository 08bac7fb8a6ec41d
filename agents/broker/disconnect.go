package broker

import "github.com/nats-io/nats-server/v2/server"

// Disconnect closes the connections of the clients that Authenticate gave a name,
// and returns how many there were. Clients that connect again are asked for their
// token again, so one whose token was revoked stays away.
func (s *Server) Disconnect(name string) (int, error) {
	list, err := s.nats.Connz(&server.ConnzOptions{Username: true, User: name, Account: server.DEFAULT_GLOBAL_ACCOUNT, Limit: 1 << 20})
	if err != nil {
		return 0, err
	}
	for _, c := range list.Conns {
		if err := s.nats.DisconnectClientByID(c.Cid); err != nil {
			return 0, err
		}
	}
	return len(list.Conns), nil
}
