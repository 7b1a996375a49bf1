"""Models that a server elsewhere runs, behind the OpenAI API: vLLM, llama.cpp, Ollama, or a hosted one."""
