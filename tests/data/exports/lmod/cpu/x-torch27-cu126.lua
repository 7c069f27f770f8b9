-- Lmod modulefile, written by envforge 1.2.3; put it below a folder of MODULEPATH.
-- Lock 321ab881d2e461c0d5a84bfde14d8dbd05c3e2afcc4e054d0d6a49c77b2c594b

local name = "x-torch27-cu126"
local prefix = "/srv/envs/x-torch27-cu126"

whatis("Name: " .. name)
whatis("Description: x-torch27-cu126, PyTorch 2.7.1, CPU, Python 3.11.9")
whatis("Version: lock-321ab881d2e4")
help("Description: x-torch27-cu126, PyTorch 2.7.1, CPU, Python 3.11.9\010Version: lock-321ab881d2e4")

-- One environment at a time: another of this family leaves first.
family("envforge")

-- A module that loads and does nothing costs more time than an error.
if (mode() == "load" and not isDir(pathJoin(prefix, "conda-meta"))) then
  LmodError(name .. " is not installed at " .. prefix .. ": envforge install " .. name)
end

prepend_path("PATH", pathJoin(prefix, "bin"))
-- What `conda activate` sets, for programs that ask which environment they are in.
setenv("CONDA_PREFIX", prefix)
setenv("CONDA_DEFAULT_ENV", name)
-- Another Python's library would be taken for this one's.
unsetenv("PYTHONHOME")
-- Packages' own activation scripts are not run: what needs them starts by `envforge run`.
setenv("PYTHONNOUSERSITE", "1")
setenv("TOKENIZERS_PARALLELISM", "false")
