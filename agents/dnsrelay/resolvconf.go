package dnsrelay

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/speedscale/speedscale/agents/config/hosts"
)

// maxNameservers is MAXNS of resolv.conf(5); resolvers ignore further ones.
const maxNameservers = 3

// Nameservers reads the nameserver lines of a resolv.conf(5), at most three. A file
// without any means the local machine, as resolvers take it.
func Nameservers(file string) ([]netip.AddrPort, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var servers []netip.AddrPort
	scanner := bufio.NewScanner(f)
	for line := 1; scanner.Scan() && len(servers) < maxNameservers; line++ {
		fields := strings.Fields(scanner.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		addr, err := netip.ParseAddr(fields[1])
		if err != nil {
			return nil, fmt.Errorf("%s:%d: nameserver %q is not an IP address", file, line, fields[1])
		}
		servers = append(servers, netip.AddrPortFrom(addr, 53))
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(servers) == 0 {
		servers = append(servers, netip.MustParseAddrPort("127.0.0.1:53"))
	}
	return servers, nil
}

// Search reads the search list of a resolv.conf(5), in lower case; of several lines the
// last counts.
func Search(file string) ([]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var domains []string
	scanner := bufio.NewScanner(f)
	for scanner.Scan() {
		fields := strings.Fields(scanner.Text())
		if len(fields) < 2 || fields[0] != "search" && fields[0] != "domain" {
			continue
		}
		domains = nil
		for _, domain := range fields[1:] {
			if domain = hosts.Plain(domain); domain != "" {
				domains = append(domains, domain)
			}
		}
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return domains, nil
}
