package initproxy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Apply puts the rules in place, in the network namespace of this thread, and
// takes away those that were there before, in one transaction: connections see the
// old rules or the new ones, never a part. Established connections are unaffected.
func Apply(s Settings) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	t := &nftables.Table{Family: nftables.TableFamilyINet, Name: Table}
	c.AddTable(t) // so that there is one to delete
	c.DelTable(t)
	c.AddTable(t)
	chains := make(map[string]*nftables.Chain)
	for _, chain := range []struct {
		name string
		hook *nftables.ChainHook
	}{{inbound, nftables.ChainHookPrerouting}, {outbound, nftables.ChainHookOutput}} {
		chains[chain.name] = c.AddChain(&nftables.Chain{
			Name: chain.name, Table: t, Type: nftables.ChainTypeNAT,
			Hooknum: chain.hook, Priority: nftables.ChainPriorityNATDest,
		})
	}
	for _, r := range rules(s) {
		c.AddRule(&nftables.Rule{Table: t, Chain: chains[r.chain], Exprs: r.exprs()})
	}
	return explain(c.Flush())
}

// Remove takes the rules away. It is no error where there are none. Connections
// that are redirected end with it where nothing else in the namespace translates
// addresses: the kernel then forgets where they lead.
func Remove() error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	t := &nftables.Table{Family: nftables.TableFamilyINet, Name: Table}
	c.AddTable(t)
	c.DelTable(t)
	return explain(c.Flush())
}

func explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EPERM):
		return fmt.Errorf("nftables: %w: the capability NET_ADMIN is needed", err)
	case errors.Is(err, syscall.EOPNOTSUPP), errors.Is(err, syscall.EAFNOSUPPORT), errors.Is(err, syscall.EPROTONOSUPPORT):
		return fmt.Errorf("nftables: %w: the kernel needs nf_tables with nat in family inet (Linux 5.2 or newer)", err)
	}
	return fmt.Errorf("nftables: %w", err)
}

// register is where each match loads its value.
const register = 1

// exprs are the rule as the kernel's virtual machine runs it: each pair loads a
// value and compares it.
func (r rule) exprs() (list []expr.Any) {
	add := func(e ...expr.Any) { list = append(list, e...) }
	if r.loopback {
		key := expr.MetaKeyIIFNAME
		if r.chain == outbound {
			key = expr.MetaKeyOIFNAME
		}
		name := make([]byte, unix.IFNAMSIZ)
		copy(name, "lo")
		add(&expr.Meta{Key: key, Register: register}, equals(name))
	}
	if r.uid != nil {
		add(&expr.Meta{Key: expr.MetaKeySKUID, Register: register}, equals(binary.NativeEndian.AppendUint32(nil, *r.uid)))
	}
	if r.from.IsValid() {
		add(address(r.from, false)...)
	}
	if r.to.IsValid() {
		add(address(r.to, true)...)
	}
	if r.local {
		add(&expr.Fib{Register: register, FlagDADDR: true, ResultADDRTYPE: true},
			equals(binary.NativeEndian.AppendUint32(nil, unix.RTN_LOCAL)))
	}
	if r.proto != 0 {
		add(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register}, equals([]byte{byte(r.proto)}))
	}
	if r.opening {
		const fin, syn, rst, ack = 0x01, 0x02, 0x04, 0x10
		add(&expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
			&expr.Bitwise{SourceRegister: register, DestRegister: register, Len: 1, Mask: []byte{fin | syn | rst | ack}, Xor: []byte{0}},
			equals([]byte{syn}))
	}
	if r.port != 0 {
		add(&expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
			equals(binary.BigEndian.AppendUint16(nil, r.port)))
	}
	if r.redirect != 0 {
		add(&expr.Immediate{Register: register, Data: binary.BigEndian.AppendUint16(nil, r.redirect)},
			&expr.Redir{RegisterProtoMin: register})
	} else {
		add(&expr.Verdict{Kind: expr.VerdictAccept})
	}
	return list
}

func equals(b []byte) expr.Any {
	return &expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: b}
}

// address compares the source or destination with a prefix, after the family, since
// the table has packets of both.
func address(p netip.Prefix, destination bool) []expr.Any {
	family, offset := byte(unix.NFPROTO_IPV4), uint32(12)
	if p.Addr().Is6() {
		family, offset = unix.NFPROTO_IPV6, 8
	}
	size := uint32(p.Addr().BitLen() / 8)
	if destination {
		offset += size
	}
	list := []expr.Any{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: register}, equals([]byte{family})}
	if p.Bits() == 0 {
		return list
	}
	list = append(list, &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size})
	if p.Bits() < p.Addr().BitLen() {
		mask := make([]byte, size)
		for bit := range p.Bits() {
			mask[bit/8] |= 0x80 >> (bit % 8)
		}
		list = append(list, &expr.Bitwise{SourceRegister: register, DestRegister: register, Len: size, Mask: mask, Xor: make([]byte, size)})
	}
	return append(list, equals(p.Masked().Addr().AsSlice()))
}
