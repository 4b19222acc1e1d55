// Read create requests as docker 20.10 does: by its own types and its own decoder.
//
// A line of the input is a body in base64; a line of the output has what the engine would take, or
// why it refuses it.
package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"

	"github.com/docker/docker/pkg/sysinfo"
	"github.com/docker/docker/runconfig"
)

func everything() *sysinfo.SysInfo {
	info := &sysinfo.SysInfo{}
	info.CPURealtime = true
	return info
}

func read(line []byte) map[string]interface{} {
	body, err := base64.StdEncoding.DecodeString(string(line))
	if err != nil {
		panic(err)
	}
	decoder := runconfig.ContainerDecoder{GetSysInfo: everything}
	config, host, network, err := decoder.DecodeConfig(bytes.NewReader(body))
	if err != nil {
		return map[string]interface{}{"error": err.Error()}
	}
	return map[string]interface{}{"Config": config, "HostConfig": host, "NetworkingConfig": network}
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<24)
	answers := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		if err := answers.Encode(read(lines.Bytes())); err != nil {
			panic(err)
		}
	}
}
