import subprocess

print(subprocess.run(["pngquant", "--version"], capture_output=True, text=True, check=True).stdout)
