/* Stands for one of the runner's programs, NAME.exe: Python in this process, which runs
 * lib\NAME.py beside it. lib\python.txt has the folder of the Python to use.
 *
 *   x86_64-w64-mingw32-gcc -O2 -s -municode -o launcher.exe launcher.c
 */
#include <stdio.h>
#include <stdlib.h>
#include <wchar.h>
#include <windows.h>

#define LONGEST 1024

enum { NO_PYTHON_TXT = 126, NO_PYTHON = 125, NO_MEMORY = 124 };

typedef int main_function(int, wchar_t **);
typedef void home_function(const wchar_t *);

/* Read the first line of a file into `line`. */
static int read_line(const wchar_t *path, wchar_t *line)
{
    FILE *file = _wfopen(path, L"r, ccs=UTF-8");
    if (!file)
        return 0;
    int found = fgetws(line, LONGEST, file) != NULL;
    fclose(file);
    if (found)
        line[wcscspn(line, L"\r\n")] = 0;
    return found;
}

/* Load python3NN.dll. python3.dll beside it only leads there, by names that wine does not follow. */
static HMODULE load_python(const wchar_t *home)
{
    static wchar_t path[2 * LONGEST];
    WIN32_FIND_DATAW found;
    swprintf(path, 2 * LONGEST, L"%ls\\python31*.dll", home);
    HANDLE search = FindFirstFileW(path, &found);
    if (search == INVALID_HANDLE_VALUE)
        return NULL;
    FindClose(search);
    swprintf(path, 2 * LONGEST, L"%ls\\%ls", home, found.cFileName);
    return LoadLibraryExW(path, NULL, LOAD_WITH_ALTERED_SEARCH_PATH);
}

int wmain(int argc, wchar_t **argv)
{
    static wchar_t folder[LONGEST], path[2 * LONGEST], home[LONGEST], script[2 * LONGEST];
    GetModuleFileNameW(NULL, folder, LONGEST);
    wchar_t *name = wcsrchr(folder, L'\\');
    *name++ = 0;
    wchar_t *ending = wcsrchr(name, L'.');
    if (ending)
        *ending = 0;

    swprintf(path, 2 * LONGEST, L"%ls\\lib\\python.txt", folder);
    if (!read_line(path, home))
        return NO_PYTHON_TXT;
    swprintf(script, 2 * LONGEST, L"%ls\\lib\\%ls.py", folder, name);

    HMODULE python = load_python(home);
    if (!python)
        return NO_PYTHON;
    main_function *run = (main_function *)(void *)GetProcAddress(python, "Py_Main");
    home_function *set_home = (home_function *)(void *)GetProcAddress(python, "Py_SetPythonHome");
    if (!run || !set_home)
        return NO_PYTHON;

    wchar_t **words = calloc(argc + 3, sizeof *words);
    if (!words)
        return NO_MEMORY;
    words[0] = argv[0];
    words[1] = L"-IS";
    words[2] = script;
    for (int i = 1; i < argc; i++)
        words[i + 2] = argv[i];
    set_home(home);
    return run(argc + 2, words);
}
