/* python.exe: all that it does is in the DLL. */
#include <wchar.h>

__declspec(dllimport) int Py_Main(int, wchar_t **);

int wmain(int argc, wchar_t **argv)
{
    return Py_Main(argc, argv);
}
