# The machine takes one job and ends, whatever happens. EC2Launch runs this text once; it copies
# itself into a scheduled task, which becomes the agent. All machines of a pool have the same.
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
$Own = Join-Path $env:ProgramData 'runner-machine'
$Imds = 'http://169.254.169.254/latest'

# EC2 shows what comes over the serial port as the machine's console.
function Write-Console([string]$Line) {
    try {
        $port = New-Object System.IO.Ports.SerialPort 'COM1', 115200
        $port.WriteTimeout = 2000
        $port.Open()
        try { $port.WriteLine($Line) } finally { $port.Close() }
    } catch {
        Write-Host "no serial port: $_"
    }
    Write-Host $Line
}

function Say([string]$Text) {
    Write-Console "runner-machine: $Text"
}

function Stop-Machine {
    shutdown.exe /s /f /t 0
    if ($LASTEXITCODE -ne 0) { Stop-Computer -Force }
}

# ---- run by EC2Launch ----------------------------------------------------------------------------

function Register-Own([string]$Name, [string]$Command, $Trigger) {
    $action = New-ScheduledTaskAction -Execute 'powershell.exe' `
        -Argument "-NoProfile -NonInteractive -ExecutionPolicy Bypass $Command"
    $options = New-ScheduledTaskSettingsSet -ExecutionTimeLimit ([TimeSpan]::Zero) `
        -AllowStartIfOnBatteries -DontStopIfGoingOnBatteries -StartWhenAvailable
    $given = @{
        TaskName = $Name; Action = $action; Settings = $options; User = 'SYSTEM'
        RunLevel = 'Highest'; Force = $true
    }
    if ($null -ne $Trigger) { $given.Trigger = $Trigger }
    Register-ScheduledTask @given | Out-Null
}

function Install-Own {
    Say "begins: agent from $Agent, $Limit s at most"
    New-Item -ItemType Directory -Force -Path $Own | Out-Null
    $file = Join-Path $Own 'machine.ps1'
    if (-not $PSCommandPath) { throw 'the user data were not run from a file' }
    Copy-Item -Force -Path $PSCommandPath -Destination $file
    $ends = New-ScheduledTaskTrigger -Once -At (Get-Date).AddSeconds($Limit)
    Register-Own 'runner-machine-limit' '-Command "shutdown.exe /s /f /t 0"' $ends
    # One that is started again has had its job.
    $again = New-ScheduledTaskTrigger -AtStartup
    Register-Own 'runner-machine-again' '-Command "shutdown.exe /s /f /t 0"' $again
    Register-Own 'runner-machine' "-File `"$file`" run" $null
    Start-ScheduledTask -TaskName 'runner-machine'
    # Whoever kills the agent's task ends the machine within a minute.
    $watch = New-ScheduledTaskTrigger -Once -At (Get-Date).AddMinutes(1) `
        -RepetitionInterval (New-TimeSpan -Minutes 1)
    Register-Own 'runner-machine-watch' "-File `"$file`" watch" $watch
}

# ---- run by the task -----------------------------------------------------------------------------

function Read-Metadata([string]$Path) {
    $headers = @{ 'X-aws-ec2-metadata-token' = $script:ImdsToken }
    return Invoke-RestMethod -TimeoutSec 10 -Headers $headers -Uri "$Imds/meta-data/$Path"
}

function Set-Identity {
    for ($try = 1; ; $try++) {
        try {
            $script:ImdsToken = Invoke-RestMethod -TimeoutSec 10 -Method Put -Uri "$Imds/api/token" `
                -Headers @{ 'X-aws-ec2-metadata-token-ttl-seconds' = '300' }
            break
        } catch {
            if ($try -ge 6) { throw "no answer from the instance metadata service: $_" }
            Start-Sleep -Seconds 5
        }
    }
    $env:AWS_REGION = Read-Metadata 'placement/region'
    $env:SIDECAR_PLATFORM = 'ec2'
    $env:SIDECAR_TOKEN_PARAMETER = "$ParameterPrefix/$(Read-Metadata 'instance-id')"
    foreach ($name in $Environment.Keys) { Set-Item -Path "env:$name" -Value $Environment[$name] }
    try {
        $idle = Read-Metadata 'tags/instance/runner-launcher:idle-limit'
        if ("$idle" -match '^[0-9]+$') { $env:SIDECAR_IDLE_LIMIT = "$idle" }
    } catch {
        Write-Host 'it has no idle limit of its own'
    }
}

function Find-Agent {
    $found = Get-Command 'runner-sidecar.exe' -ErrorAction SilentlyContinue
    if ($null -ne $found) { return $found.Source }
    $usual = Join-Path $env:ProgramFiles 'runner-sidecar\runner-sidecar.exe'
    if (Test-Path $usual) { return $usual }
    throw "the machine's image has no runner-sidecar.exe; set agent_image or agent_requirements"
}

function Get-Wheels {
    $listed = Join-Path $Own 'requirements.txt'
    Invoke-WebRequest -UseBasicParsing -TimeoutSec 120 -Uri $AgentSource -OutFile $listed
    $sum = (Get-FileHash -Algorithm SHA256 -Path $listed).Hash
    if ($sum -ne $AgentSha256) { throw "$AgentSource is not what agent_requirements_sha256 says" }
    $venv = Join-Path $Own 'agent'
    python.exe -m venv $venv | Out-Null
    if ($LASTEXITCODE -ne 0) { throw 'cannot make a virtual environment' }
    & "$venv\Scripts\pip.exe" install --quiet --disable-pip-version-check --no-deps `
        --require-hashes --requirement $listed | Out-Null
    if ($LASTEXITCODE -ne 0) { throw "cannot install what $AgentSource lists" }
    return "$venv\Scripts\runner-sidecar.exe"
}

function Start-Agent {
    switch ($Agent) {
        'image' { $program = Find-Agent; & $program run | ForEach-Object { Write-Console "$_" } }
        'wheel' { $program = Get-Wheels; & $program run | ForEach-Object { Write-Console "$_" } }
        'docker' {
            docker.exe pull --quiet $AgentSource | Out-Null
            if ($LASTEXITCODE -ne 0) { throw "docker cannot pull $AgentSource (agent_image)" }
            $given = @()
            Get-ChildItem env: | Where-Object { $_.Name -match '^(SIDECAR_.*|AWS_REGION)$' } |
                ForEach-Object { $given += '--env', $_.Name }
            docker.exe run --rm --name runner @given $AgentSource |
                ForEach-Object { Write-Console "$_" }
        }
    }
    $script:Code = $LASTEXITCODE
}

function Invoke-Agent {
    try {
        $begun = Join-Path $Own 'begun'
        if (Test-Path $begun) { throw 'this machine has run before, and takes one job only' }
        New-Item -ItemType File -Path $begun | Out-Null
        Set-Identity
        Start-Agent
        Say "the agent has ended with exit code $script:Code"
    } catch {
        Say "cannot start the agent: $_"
    } finally {
        Stop-Machine
    }
}

function Watch-Agent {
    $state = (Get-ScheduledTask -TaskName 'runner-machine').State
    if ("$state" -notin 'Running', 'Queued') {
        Say "the agent's task is not running: $state"
        Stop-Machine
    }
}

switch ("$($args[0])") {
    'run' { Invoke-Agent }
    'watch' { Watch-Agent }
    default {
        try {
            Install-Own
        } catch {
            Say "cannot install the tasks: $_"
            Stop-Machine
        }
    }
}
