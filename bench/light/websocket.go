package light

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
)

// Opcodes of RFC 6455 §5.2.
const (
	Text   = 0x1
	Binary = 0x2

	opClose = 0x8
	opPing  = 0x9
	opPong  = 0xa
)

const (
	final    = 0x80
	masked   = 0x80
	length16 = 126
	length64 = 127
	maskSize = 4
)

// WebSocket is one WebSocket. Its mask is always zero, which costs nothing.
type WebSocket struct {
	conn  net.Conn
	read  *bufio.Reader
	frame []byte
	data  []byte
}

// DialWebSocket opens a WebSocket.
func DialWebSocket(ctx context.Context, addr, path, subprotocol string) (*WebSocket, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	w := &WebSocket{conn: conn, read: bufio.NewReaderSize(conn, 1<<10)}
	if err := w.upgrade(addr, path, subprotocol); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return w, nil
}

func (w *WebSocket) upgrade(addr, path, subprotocol string) error {
	request := "GET " + path + " HTTP/1.1\r\nHost: " + addr + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
	if subprotocol != "" {
		request += "Sec-WebSocket-Protocol: " + subprotocol + "\r\n"
	}
	if _, err := io.WriteString(w.conn, request+"\r\n"); err != nil {
		return err
	}
	status, err := w.read.ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.Contains(status, " 101 ") {
		return fmt.Errorf("no upgrade: %q", status)
	}
	for {
		line, err := w.read.ReadString('\n')
		if err != nil || len(line) <= 2 {
			return err
		}
	}
}

// Close closes the connection.
func (w *WebSocket) Close() error { return w.conn.Close() }

// Write sends one message.
func (w *WebSocket) Write(opcode byte, message []byte) error {
	b := append(w.frame[:0], final|opcode)
	switch n := len(message); {
	case n < length16:
		b = append(b, masked|byte(n))
	case n < 1<<16:
		b = append(b, masked|length16)
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		b = append(b, masked|length64)
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	b = append(b, make([]byte, maskSize)...)
	b = append(b, message...)
	w.frame = b
	_, err := w.conn.Write(b)
	return err
}

// Read reads one message, whose bytes stay valid until the next.
func (w *WebSocket) Read() ([]byte, error) {
	w.data = w.data[:0]
	for {
		opcode, last, n, err := w.header()
		if err != nil {
			return nil, err
		}
		start := len(w.data)
		w.data = append(w.data, make([]byte, n)...)
		if _, err := io.ReadFull(w.read, w.data[start:]); err != nil {
			return nil, err
		}
		switch opcode {
		case opClose:
			return nil, fmt.Errorf("closed: %q", w.data[start:])
		case opPing:
			err = w.Write(opPong, w.data[start:])
			fallthrough
		case opPong:
			w.data = w.data[:start]
		default:
			if last {
				return w.data, nil
			}
		}
		if err != nil {
			return nil, err
		}
	}
}

func (w *WebSocket) header() (opcode byte, last bool, n int, err error) {
	var b [8]byte
	if _, err := io.ReadFull(w.read, b[:2]); err != nil {
		return 0, false, 0, err
	}
	opcode, last, n = b[0]&0xf, b[0]&final != 0, int(b[1])
	switch n {
	case length16:
		_, err = io.ReadFull(w.read, b[:2])
		n = int(binary.BigEndian.Uint16(b[:]))
	case length64:
		_, err = io.ReadFull(w.read, b[:8])
		n = int(binary.BigEndian.Uint64(b[:]))
	}
	return opcode, last, n, err
}
