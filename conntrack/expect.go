package conntrack

// Expected finds the connection that control, a control connection, expects with
// this key and to this server, or nil. In the shard of [Table.NoCPort] the key's
// client port is 0.
func (s *Shard) Expected(hash uint64, k *Key, dest *Addr, destPort uint16, control Ref) *Conn {
	for w := s.walk(hash); ; {
		c := w.more(s)
		if c == nil {
			return nil
		}
		if c.Control == control && c.DestPort == destPort && c.ClientPort == k.ClientPort && c.VirtualPort == k.VirtualPort &&
			c.Proto == k.Proto && c.Dest == *dest && c.Client == k.Client && c.Virtual == k.Virtual {
			return c
		}
	}
}

// OutAny finds the masquerading connection whose server may answer from any port
// (AnyDPort), for a packet from src to the client. The caller makes the packet's
// source port the connection's.
func (s *Shard) OutAny(hash uint64, proto uint8, src, client *Addr, cport uint16) *Conn {
	for w := s.walk(hash); ; {
		c := w.more(s)
		if c == nil {
			return nil
		}
		if c.Flags&AnyDPort != 0 && c.ClientPort == cport && c.Proto == proto && c.Client == *client && c.Dest == *src {
			return c
		}
	}
}
