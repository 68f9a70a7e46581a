// Go: a goroutine for each connection.
package main

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
)

func main() {
	if len(os.Args) < 3 {
		fail(fmt.Errorf("usage: echo WORKERS BUFFER"))
	}
	workers, err := strconv.Atoi(os.Args[1])
	if err != nil {
		fail(err)
	}
	buffer, err := strconv.Atoi(os.Args[2])
	if err != nil {
		fail(err)
	}
	runtime.GOMAXPROCS(workers)
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		fail(err)
	}
	fmt.Printf("port %d\n", listener.Addr().(*net.TCPAddr).Port)
	for {
		// Go sets TCP_NODELAY by itself.
		connection, err := listener.Accept()
		if err != nil {
			fail(err)
		}
		go echo(connection, buffer)
	}
}

func echo(connection net.Conn, buffer int) {
	defer connection.Close()
	bytes := make([]byte, buffer)
	for {
		read, err := connection.Read(bytes)
		if err != nil {
			return
		}
		if _, err := connection.Write(bytes[:read]); err != nil {
			return
		}
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
